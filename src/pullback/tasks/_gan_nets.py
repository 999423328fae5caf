"""The players of `TableGAN`: how they start, are trained, kept and asked."""

import math
import warnings
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.stats import truncnorm
from sklearn.exceptions import ConvergenceWarning

from pullback._on_device import on_device
from pullback.games import (
    ALI,
    AbstractConditional,
    GaussianConditional,
    JointDiscriminator,
    fit_ali,
)
from pullback.sampling import gumbel_softmax
from pullback.train import TrainingError

from ._copula import Copula, kinds_from_scores
from ._padded import CHUNK, chunks

_WIDTH, _DEPTH, _DROPOUT = 64, 2, 0.2
_BATCH = 128
_RATE, _FASTER = 1e-3, 3.0  # of the generator, and how much faster the discriminator learns
_SHARED = 0.9  # correlation of latents and rows before the first step
_SMOOTH = 0.3  # how far, in scores, the ends of a kind's piece are blurred
_TEMPERATURE = 0.5
_END = 8.0  # of the scores of all that is seen
_LEAST = 1e-6  # probability of a kind before the first step
_FLOOR = 0.1  # of the deviation of reconstructions
_SPARED = math.sqrt(1 - _SHARED**2)


class Start(NamedTuple):
    """What the copula says, in single precision; training leaves it as it is.

    Attributes:
        root: of latents and the scores of kinds, `[kinds' columns, latents]`.
        back: the way from white numbers and scores of kinds to the latents of kinds.
        low: of each column of kinds where the piece of each begins, in the order of its codes.
        high: where it ends.
        middles: the mean score of each kind.
    """

    root: Any
    back: Any
    low: list[Any]
    high: list[Any]
    middles: list[Any]

    @classmethod
    def of(cls, copula: Copula) -> "Start":
        """That of a copula."""
        whole = copula.whole
        low, high, middles = [], [], []
        for order, edges in zip(copula.order, copula.edges, strict=True):
            rank = np.argsort(order)
            # Training stops where an array of its state is infinite.
            bounded = np.clip(edges, -_END, _END)
            ends = bounded[:-1][rank], bounded[1:][rank]
            empty = ends[1] <= ends[0]
            safe = np.where(empty, -1, ends[0]), np.where(empty, 1, ends[1])
            mean = np.where(empty, ends[0], truncnorm.mean(*safe))
            low.append(ends[0])
            high.append(ends[1])
            middles.append(mean)
        arrays = cls(copula.root[whole:], kinds_from_scores(copula.root, whole), low, high, middles)
        return jax.tree.map(lambda array: on_device(array.astype(np.float32)), arrays)


class Decoder(AbstractConditional):
    r"""A copula's rows of latents and noise, and a network beside it that starts at 0.

    $$ h = \rho z + \sqrt{1 - \rho^2}\, \epsilon, \qquad w = h_w + g_w(z, \epsilon), \qquad
       k \sim \mathrm{softmax}(\ln p(k | h) + g_k(z, \epsilon)) $$

    A kind is drawn by Gumbel's trick, one-hot, with the gradient of its relaxation.
    """

    net: eqx.nn.MLP
    start: Start

    def sample(self, x: Float[Array, " l"], *, key: PRNGKeyArray) -> Float[Array, " f"]:
        """A row of white numbers and one-hot kinds."""
        noise, *keys = jr.split(key, 1 + len(self.start.low))
        numbers, logits = self.parts(x, jr.normal(noise, x.shape, x.dtype))
        kinds = [
            gumbel_softmax(each, _TEMPERATURE, hard=True, key=key)
            for each, key in zip(logits, keys, strict=True)
        ]
        return jnp.concatenate([numbers, *kinds])

    def parts(
        self, z: Float[Array, " l"], noise: Float[Array, " l"]
    ) -> tuple[Float[Array, " w"], list[Array]]:
        """White numbers, and the logits of each column of kinds."""
        start = jax.lax.stop_gradient(self.start)
        h, added = _SHARED * z + _SPARED * noise, self.net(jnp.concatenate([z, noise]))
        whole = len(z) - len(start.low)
        scores, rest, logits = start.root @ h, added[whole:], []
        for score, low, high in zip(scores, start.low, start.high, strict=True):
            # Blurred by noise of its own, so that a smaller score leaves the shares as they are.
            score = math.sqrt(1 - _SMOOTH**2) * score
            below = jax.scipy.special.ndtr((high - score) / _SMOOTH)
            mass = below - jax.scipy.special.ndtr((low - score) / _SMOOTH)
            logits.append(jnp.log(jnp.maximum(mass, _LEAST)) + rest[: len(low)])
            rest = rest[len(low) :]
        return h[:whole] + added[:whole], logits


class _Encoder(eqx.Module):
    """Means and log-deviations of latents: the copula's, and a network's beside them."""

    net: eqx.nn.MLP
    start: Start

    def __call__(self, x: Float[Array, " f"], *, key: PRNGKeyArray | None) -> Float[Array, " m"]:
        start = jax.lax.stop_gradient(self.start)
        added = self.net(x)
        latents = len(added) // 2
        whole = latents - len(start.low)
        rest, scores = x[whole:], []
        for middles in start.middles:
            scores.append(rest[: len(middles)] @ middles)
            rest = rest[len(middles) :]
        numbers = x[:whole]
        kinds = start.back @ jnp.concatenate([numbers, jnp.stack(scores)]) if scores else x[:0]
        mean = _SHARED * jnp.concatenate([numbers, jnp.clip(kinds, -3, 3)])
        log_scale = jnp.full(latents, math.log(_SPARED), x.dtype)
        return jnp.concatenate([mean + added[:latents], log_scale + added[latents:]])


class _Critic(eqx.Module):
    """A network with dropout, without which it knows small tables by heart."""

    net: eqx.nn.MLP
    dropout: eqx.nn.Dropout

    def __call__(self, x: Float[Array, " f"], *, key: PRNGKeyArray | None) -> Float[Array, ""]:
        keys = [None] * _DEPTH if key is None else jr.split(key, _DEPTH)
        for layer, key in zip(self.net.layers[:-1], keys, strict=True):
            x = self.dropout(_leaky(layer(x)), key=key)
        return jnp.squeeze(self.net.layers[-1](x))


def _leaky(x: Array) -> Array:
    # Functions of this module, for JAX's and Equinox's own cannot be pickled.
    return jnp.where(x > 0, x, 0.01 * x)


def _as_it_is(x: Array) -> Array:
    return x


def begin(copula: Copula, seed: int) -> ALI:
    """The players before the first step: the decoder is the copula, and the encoder its inverse."""
    start, generator = Start.of(copula), np.random.RandomState(seed)
    latents, row = len(copula.root), copula.whole + sum(copula.counts)
    encoder = _mlp(row, 2 * latents, generator, last=0.0)
    decoder = _mlp(2 * latents, row, generator, last=0.0)
    critic = _mlp(row + latents, 1, generator, last=1.0)
    plain = eqx.nn.Identity()
    return ALI(
        GaussianConditional(_Encoder(encoder, start)),
        Decoder(decoder, start),
        JointDiscriminator(plain, plain, _Critic(critic, eqx.nn.Dropout(_DROPOUT))),
        prior_dim=latents,
    )


def _mlp(inputs: int, outputs: int, generator: np.random.RandomState, *, last: float) -> Any:
    """A network whose arrays are made on the host, where nothing is compiled."""
    make = lambda: eqx.nn.MLP(
        inputs, outputs, _WIDTH, _DEPTH, _leaky, _as_it_is, dtype=jnp.float32, key=jr.key(0)
    )
    shape = eqx.filter_eval_shape(make)
    layers = []
    for place, layer in enumerate(shape.layers):
        limit = (last if place == _DEPTH else 1.0) / math.sqrt(layer.weight.shape[1])
        draw = lambda leaf, limit=limit: on_device(
            generator.uniform(-limit, limit, leaf.shape).astype(np.float32)
        )
        layers.append(eqx.tree_at(_both, layer, [draw(leaf) for leaf in _both(layer)]))
    return eqx.tree_at(lambda net: net.layers, shape, tuple(layers))


def _both(layer: Any) -> list[Any]:
    return [layer.weight, layer.bias]


def steps_for(rows: int, columns: int) -> int:
    """How many steps a table to train on takes; none where there are too few rows.

    Of few rows and many columns a discriminator soon knows each row by heart, and the generator
    then draws them together.
    """
    if rows < _FEWEST:
        return 0
    return min(_MOST, (1000 + 50 * rows // columns) // 100 * 100)


_FEWEST, _MOST = 80, 6000


def train(
    model: ALI,
    rows: Float[np.ndarray, "n f"],
    *,
    steps: int,
    seed: int,
    progress: bool | None,
) -> tuple[ALI, int]:
    """The players after training, and the steps taken; as they were where it fails.

    Args:
        model: as it starts.
        rows: white numbers and one-hot kinds.
        steps: of both players.
        seed: of all that is random.
        progress: as for `fit_ali`.
    """
    if not steps:
        return model, 0
    log_every = min(100, steps)
    steps = steps // log_every * log_every
    adam = lambda rate: optax.adam(optax.cosine_decay_schedule(rate, steps), b1=0.5)
    try:
        trained, _ = fit_ali(
            model, np.clip(rows, -_CLIP, _CLIP).astype(np.float32),
            generator_optimiser=adam(_RATE), discriminator_optimiser=adam(_FASTER * _RATE),
            steps=steps, batch_size=min(_BATCH, len(rows)), log_every=log_every, progress=progress,
            key=jr.wrap_key_data(on_device(np.asarray([0, seed], np.uint32))),
        )  # fmt: skip
    except TrainingError as error:
        told = "the players could not be trained, so the model is the copula that they start from: "
        warnings.warn(f"{told}{error}", ConvergenceWarning, stacklevel=3)
        return model, 0
    return trained, steps


_CLIP = 10.0  # white numbers beyond which a row teaches no more


def sample(model: ALI, count: int, seed: int) -> Float[np.ndarray, "n f"]:
    """Rows of white numbers and one-hot kinds."""
    parts = []
    for number, (start, stop) in enumerate(chunks(count)):
        key = jr.wrap_key_data(on_device(np.asarray([number, seed], np.uint32)))
        parts.append(np.asarray(_sample(model, key), np.float64)[: stop - start])
    return np.concatenate(parts)


@eqx.filter_jit
def _sample(model: ALI, key: PRNGKeyArray) -> Array:
    return model.sample(CHUNK, key=key)


class Told(NamedTuple):
    """What the players say of rows, each the same to the bit whatever is beside it.

    Attributes:
        latents: the encoder's means.
        missed: white numbers less those that the decoder gives back of them.
        kinds: the log-probability that the decoder gives to each row's kinds, in all.
    """

    latents: Float[np.ndarray, "n l"]
    missed: Float[np.ndarray, "n w"]
    kinds: Float[np.ndarray, " n"]


def tell(model: Any, rows: Float[np.ndarray, "n f"]) -> Told:
    """Latents and reconstructions of rows."""
    found = []
    for start, stop in chunks(len(rows)):
        part = rows[start:stop].astype(np.float32)
        filled = np.concatenate([part, np.repeat(part[:1], CHUNK - len(part), axis=0)])
        told = _tell(model, on_device(filled))
        found.append([np.asarray(each, np.float64)[: stop - start] for each in told])
    latents = model.prior_dim
    whole = latents - len(model.decoder.start.low)
    none = [np.zeros((0, latents)), np.zeros((0, whole)), np.zeros(0)]
    return Told(*(np.concatenate(each) for each in zip(none, *found, strict=True)))


@eqx.filter_jit
def _tell(model: Any, rows: Array) -> tuple[Array, Array, Array]:
    def one(x: Array) -> tuple[Array, Array, Array]:
        z = model.encoder.mean(x)
        numbers, logits = model.decoder.parts(z, jnp.zeros_like(z))
        rest, kinds = x[len(numbers) :], jnp.zeros((), x.dtype)
        for each in logits:
            kinds = kinds + jnp.sum(jax.nn.log_softmax(each) * rest[: len(each)])
            rest = rest[len(each) :]
        return z, x[: len(numbers)] - numbers, kinds

    return jax.vmap(one)(rows)


def deviations(told: Told) -> Float[np.ndarray, " w"]:
    """How far reconstructions of the rows fitted are off."""
    return np.maximum(np.sqrt(np.mean(told.missed**2, axis=0)), _FLOOR)


def score(told: Told, deviation: Float[np.ndarray, " w"]) -> Float[np.ndarray, " n"]:
    r"""How usual rows are: $-\tfrac12 |z|^2 - \tfrac12 \sum_j (r_j / s_j)^2 + \ln p(k | z)$."""
    squares = sum(column**2 for column in told.latents.T)
    missed = sum((r / s) ** 2 for r, s in zip(told.missed.T, deviation, strict=True))
    return -0.5 * (squares + missed) + told.kinds


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    """The arrays of encoder and decoder by name; the discriminator is needed no more."""
    nets = {"encoder": model.encoder.net.net, "decoder": model.decoder.net}
    return {
        f"{name}.{part}.{place}": np.asarray(array)
        for name, net in nets.items()
        for place, layer in enumerate(net.layers)
        for part, array in zip(("weight", "bias"), _both(layer), strict=True)
    }


def from_arrays(copula: Copula, arrays: dict[str, np.ndarray]) -> ALI:
    """The players that had these arrays, but for the discriminator."""
    model = begin(copula, 0)
    where = lambda model: [
        array
        for net in (model.encoder.net.net, model.decoder.net)
        for layer in net.layers
        for array in _both(layer)
    ]
    names = [
        f"{name}.{part}.{place}"
        for name in ("encoder", "decoder")
        for place in range(_DEPTH + 1)
        for part in ("weight", "bias")
    ]
    return eqx.tree_at(where, model, [on_device(arrays[name]) for name in names])
