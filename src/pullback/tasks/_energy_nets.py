"""The networks of `EnergyClassifier`: how they are trained, kept and asked."""

import warnings
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from sklearn.exceptions import ConvergenceWarning

from pullback._on_device import on_device
from pullback.models.energy import (
    JEM,
    SGLD,
    GaussianStart,
    JEMStep,
    LatentGenerator,
    ReplayBuffer,
    VERAStep,
)
from pullback.train import Stream, TrainingError, iterate

from ._class_start import Start
from ._padded import CHUNK, chunks, power_of_two
from ._trained import Trained

METHODS = ("vera", "jem", "supervised")
_WIDTH, _DEPTH, _LATENT = 64, 2, 16
_BATCH, _CHAINS = 64, 2048
_STEPS, _LOG_EVERY, _PATIENCE = 4000, 50, 8
_ROUNDS = 4  # how often each row stands in the rows of a stream, at least


class Net(NamedTuple):
    """What is added to the logits that a network starts from: weights and biases of its layers."""

    weights: list[Float[np.ndarray, "out in"]]
    biases: list[Float[np.ndarray, " out"]]


class Lines(eqx.Module):
    """What a network starts from, of whitened rows, in single precision."""

    weight: Float[Array, "k d"]
    bias: Float[Array, " k"]
    log_prior: Float[Array, " k"]
    mean: Float[Array, "k d"]

    @classmethod
    def of(cls, start: Start) -> "Lines":
        """Those of a start."""
        parts = (start.weight, start.bias, start.log_prior, start.mean)
        return cls(*(on_device(part.astype(np.float32)) for part in parts))


class _Logits(eqx.Module):
    r"""The start's joint log-density, and a network beside it that starts at 0.

    $$ f(v)_y = \ln p_0(v) + \ln p_0(y | v) + g(v)_y $$
    """

    net: eqx.nn.MLP
    start: Lines

    def __call__(self, v: Float[Array, " d"]) -> Float[Array, " k"]:
        start = jax.tree.map(jax.lax.stop_gradient, self.start)
        squares = jnp.sum(jnp.square(v[None] - start.mean), axis=1)
        log_density = jax.nn.logsumexp(start.log_prior - squares / 2)
        return log_density + jax.nn.log_softmax(start.weight @ v + start.bias) + self.net(v)


class _HeldOut(eqx.Module):
    """The log loss of rows that are held out."""

    v: Float[Array, "m d"]
    y: Int[Array, " m"]
    weight: Float[Array, " m"]
    of_energy: bool = eqx.field(static=True)

    def __call__(self, state: Any, *, key: PRNGKeyArray) -> dict[str, Array]:
        model = state.energy if self.of_energy else state.model
        log_probs = jax.nn.log_softmax(jax.vmap(model.logits)(self.v))
        chosen = jnp.take_along_axis(log_probs, self.y[:, None], axis=1)[:, 0]
        return {"loss": -jnp.sum(self.weight * chosen) / jnp.sum(self.weight)}


def train(
    method: str,
    start: Start,
    v: Float[np.ndarray, "n d"],
    codes: Int[np.ndarray, " n"],
    choose: Int[np.ndarray, " m"],
    *,
    first: Trained | None,
    room: int,
    steps: int | None,
    seed: int,
    progress: bool | None,
) -> Trained | None:
    """A network, the one of all steps that does best on the rows to choose by.

    Args:
        method: of `METHODS`.
        start: what it is added to.
        v: whitened rows.
        codes: their classes, -1 where none is known.
        choose: places of rows with a class to choose the number of steps by.
        first: what to go on from, for half as many steps, on all rows: those to choose by then say
            which of the last states is no chance one. None: begin, and leave them out.
        room: rows that there may be, so that one program serves the choice and the last training.
        steps: how many, or at most; None: so many that it seldom matters.
        seed: of all that is random.
        progress: as for `iterate`.

    Returns:
        None where training failed.
    """
    steps = _STEPS if steps is None else max(1, steps)
    log_every = min(_LOG_EVERY, steps)
    if first is not None:
        steps = max(log_every, first.steps // 2)
    steps = steps // log_every * log_every
    seen = np.ones(len(v), bool)
    if first is None:
        seen[choose] = False
    rows, known = np.flatnonzero(seen), np.flatnonzero(seen & (codes >= 0))
    generator = method == "vera"
    step = _step(method)
    key, fresh = (jr.wrap_key_data(on_device(np.asarray([k, seed], np.uint32))) for k in (0, 1))
    padded = np.resize(choose, max(256, power_of_two(len(choose))))
    weight = (np.arange(len(padded)) < len(choose)).astype(np.float32)
    validation = _HeldOut(
        on_device(v[padded].astype(np.float32)), on_device(codes[padded]), on_device(weight),
        generator,
    )  # fmt: skip
    try:
        state: Any
        state, info = iterate(
            step, _begin(step, Lines.of(start), fresh) if first is None else first.state,
            {
                "labelled": Stream(_repeated((v, codes), known, room), _BATCH),
                "unlabelled": Stream(_repeated((v,), rows, room)[0], _BATCH),
            },
            steps=steps, log_every=log_every, validation=validation,
            patience=_PATIENCE if first is None else steps,
            rollbacks=3, progress=progress, key=key,
        )  # fmt: skip
    except TrainingError as error:
        told = "the network could not be trained, so the model is what it starts from: "
        warnings.warn(f"{told}{error}", ConvergenceWarning, stacklevel=4)
        return None
    layers = (state.energy if generator else state.model).classifier.net.layers
    weights, biases = ([np.asarray(getattr(x, n)) for x in layers] for n in ("weight", "bias"))
    before = 0 if first is None else first.steps
    return Trained(Net(weights, biases), state, before + int(info.best_step))


def _step(method: str) -> Any:
    if method == "vera":
        return VERAStep(
            optax.adam(1e-3), optax.adam(1e-3, b1=0.5, b2=0.99), samples=5, label_weight=10.0,
            sigma_range=(0.3, 1.2),
        )  # fmt: skip
    weight = 0.0 if method == "supervised" else 1.0
    sampler = SGLD(20, step_size=0.05, noise=None)
    return JEMStep(optax.adam(1e-3), sampler=sampler, density_weight=weight, label_weight=10.0)


@eqx.filter_jit
def _begin(step: Any, start: Lines, key: PRNGKeyArray) -> Any:
    """The state before the first step: a network of 0, and a generator or chains."""
    first, second = jr.split(key)
    classes, width = start.mean.shape
    dtype = start.mean.dtype

    def mlp(inputs: int, outputs: int, key: PRNGKeyArray) -> eqx.nn.MLP:
        return eqx.nn.MLP(inputs, outputs, _WIDTH, _DEPTH, jax.nn.silu, dtype=dtype, key=key)

    net = mlp(width, classes, first)
    last = lambda net: (net.layers[-1].weight, net.layers[-1].bias)
    net = eqx.tree_at(last, net, jax.tree.map(jnp.zeros_like, last(net)))
    model = JEM(_Logits(net, start))
    if isinstance(step, VERAStep):
        latent = min(_LATENT, width)
        generator = LatentGenerator(mlp(latent, width, second), latent, sigma=1.0)
        noise = generator.log_sigma.astype(dtype)
        return step.init(model, eqx.tree_at(lambda g: g.log_sigma, generator, noise))
    root = jnp.broadcast_to(jnp.eye(width, dtype=dtype), (classes, width, width))
    weights = jax.nn.softmax(start.log_prior)
    chains = GaussianStart(mean=start.mean, root=root, weights=weights, shape=(width,))
    return step.init(model, ReplayBuffer.init(chains, _CHAINS, key=second))


def _repeated(
    arrays: tuple[np.ndarray, ...], places: Int[np.ndarray, " n"], room: int
) -> tuple[np.ndarray, ...]:
    """Rows, each about as often as the next, so many that one program serves tables of any size."""
    size = max(4096, _ROUNDS * power_of_two(room))
    taken = np.resize(places, size)
    return tuple(a[taken].astype(np.float32 if a.dtype.kind == "f" else a.dtype) for a in arrays)


def added(net: Net, v: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """What the network adds to the logits of rows, to the bit whatever is beside them."""
    device = jax.tree.map(on_device, net)
    parts = []
    for start, stop in chunks(len(v)):
        part = v[start:stop].astype(np.float32)
        filled = np.concatenate([part, np.repeat(part[:1], CHUNK - len(part), axis=0)])
        parts.append(np.asarray(_added(device, on_device(filled)), np.float64)[: stop - start])
    return np.concatenate([np.zeros((0, len(net.biases[-1]))), *parts])


@jax.jit
def _added(net: Net, v: Array) -> Array:
    for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
        v = jax.nn.silu(v @ weight.T + bias[None])
    return v @ net.weights[-1].T + net.biases[-1][None]


def arrays_of(net: Net | None) -> dict[str, np.ndarray]:
    """The arrays of a network by name."""
    if net is None:
        return {}
    pairs = enumerate(zip(net.weights, net.biases, strict=True))
    return {
        f"net.{name}.{place}": array
        for place, both in pairs
        for name, array in zip(("weight", "bias"), both, strict=True)
    }


def from_arrays(arrays: dict[str, np.ndarray]) -> Net | None:
    """The network that had these arrays, or None."""
    if "net.weight.0" not in arrays:
        return None
    both = ([arrays[f"net.{name}.{k}"] for k in range(_DEPTH + 1)] for name in ("weight", "bias"))
    return Net(*both)
