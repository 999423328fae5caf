"""What the recipe `delta-vae` trains: autoencoders of bits that a hidden state switches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from pullback.bounds import Beta, DiagonalNormal, TargetRate
from pullback.models.vae import (
    VAE,
    AbstractAutoregressiveDecoder,
    AR1Prior,
    Bernoulli,
    SequenceDecoder,
    batch_terms,
)
from pullback.nn import AbstractSequenceNet, RecurrentNet
from pullback.sampling import StandardNormal
from pullback.train import fit

# Points of a curve of training.
_POINTS = 50


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many models are trained in each way."""
    alphas: tuple[float, ...] = (0.5, 0.8, 0.9)
    """Correlations of the priors, rising."""
    length: int = 32
    """Steps of a sequence."""
    bits: int = 4
    """Bits of each step."""
    stay: float = 0.95
    """The chance that the hidden state is the same in the next step."""
    contrast: float = 0.75
    """The chance of a one in one hidden state; of a zero in the other."""
    width: int = 32
    """Size of the recurrent states and of the decoder's hidden layer."""
    channels: int = 1
    """Latents of each step."""
    steps: int = 1200
    """Training steps, each on new sequences."""
    batch_size: int = 32
    """Sequences of a step."""
    learning_rate: float = 3e-3
    """Adam's learning rate."""
    evaluated: int = 2000
    """New sequences that a model is measured on."""
    batch_of_bound: int = 500
    """Sequences of each batch that bounds the information; the lower bound is at most its log."""

    def __post_init__(self):
        for name, least in (
            ("seeds", 1), ("length", 2), ("bits", 1), ("steps", 1), ("batch_size", 1),
            ("evaluated", 20), ("batch_of_bound", 2),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        rising = self.alphas
        if not rising or sorted(set(rising)) != [*rising] or rising[0] <= 0 or rising[-1] >= 1:
            raise ValueError(f"alphas must rise and lie between 0 and 1, got {rising}")
        if not (0.5 < self.stay < 1 and 0.5 < self.contrast < 1):
            raise ValueError(
                f"stay and contrast must lie between 0.5 and 1, got {self.stay}, {self.contrast}"
            )


class Way(NamedTuple):
    """A way to train. All ways are one program: what sets them apart are run-time values."""

    prior: int = 0
    """0 is the independent prior; above, the autoregressive ones in the order of `alphas`."""
    target: bool = False
    """Whether the rate has a target; else the objective is the ELBO."""
    causal: bool = False
    """Whether the encoder sees the past, which the decoder knows, and not the future."""
    alone: bool = False
    """Whether the decoder is told nothing of z, and the rate costs nothing."""


def ways(config: Config) -> dict[str, Way]:
    """The ways by a name for files."""
    last = len(config.alphas)
    deltas = {f"delta{alpha:g}": Way(i + 1) for i, alpha in enumerate(config.alphas)}
    return {
        "decoder": Way(alone=True),
        "vae": Way(),
        **deltas,
        "causal": Way(last, causal=True),
        "target": Way(target=True),
    }


def deltas(config: Config) -> list[float]:
    """The committed rate of each correlation, in nats."""
    return [prior.committed_rate for prior in _priors(config)[1:]]


def target_rate(config: Config) -> float:
    """What the last of the priors commits to."""
    return deltas(config)[-1]


def _priors(config: Config) -> tuple[Any, ...]:
    shape = config.length, config.channels
    each = [AR1Prior((alpha,) * config.channels, config.length) for alpha in config.alphas]
    return (StandardNormal(shape), *each)


class _OneOf(eqx.Module):
    """A prior of which it is known at run time alone which one it is."""

    priors: tuple[Any, ...]
    number: Int[Array, ""]

    def log_prob(self, z: Array) -> Array:
        return jnp.stack([prior.log_prob(z) for prior in self.priors])[self.number]

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> Array:
        return jnp.stack([prior.sample(key, shape) for prior in self.priors])[self.number]

    def kl_from(self, q: Any) -> Array:
        return jnp.stack([prior.kl_from(q) for prior in self.priors])[self.number]


class _Looking(eqx.Module):
    """A causal net, or an anti-causal one."""

    net: AbstractSequenceNet
    causal: Bool[Array, ""]

    def __call__(self, x: Array) -> Array:
        turn = lambda rows: jnp.where(self.causal, rows, rows[::-1])
        return turn(self.net(turn(x)))


class _Told(AbstractAutoregressiveDecoder):
    """A decoder that is told z, or zeros."""

    decoder: SequenceDecoder
    alone: Bool[Array, ""]

    def __call__(self, z: Array, x: Array) -> Array:
        return self.decoder(jnp.where(self.alone, 0, z), x)

    def sample(self, z: Array, likelihood: Any, *, key: Array) -> Array:
        return self.decoder.sample(jnp.where(self.alone, 0, z), likelihood, key=key)


def sequences(config: Config, count: int, key: Array) -> tuple[Array, Array]:
    """Bits `[count, length, bits]`, and the hidden states `[count, length]` that made them."""
    first, moves, bits = jr.split(key, 3)
    start = jr.bernoulli(first, 0.5, (count, 1))
    switches = jr.bernoulli(moves, 1 - config.stay, (count, config.length - 1))
    counted = jnp.cumsum(jnp.concatenate([start, switches], axis=1).astype(jnp.int32), axis=1)
    states = counted % 2
    chance = jnp.where(states == 1, config.contrast, 1 - config.contrast)[..., None]
    shape = (count, config.length, config.bits)
    return jr.bernoulli(bits, jnp.broadcast_to(chance, shape)).astype(float), states


def autoencoder(config: Config, way: Way, key: Array) -> VAE:
    """A recurrent encoder and a recurrent decoder."""
    encoder_key, net_key, head_key = jr.split(key, 3)
    encoder = RecurrentNet(config.bits, 2 * config.channels, config.width, key=encoder_key)
    decoder = SequenceDecoder(
        RecurrentNet(config.bits, config.width, config.width, key=net_key),
        steps=config.length,
        latent=config.channels,
        outputs=(config.bits,),
        width=config.width,
        key=head_key,
    )
    number, _, causal, alone = map(jnp.asarray, way)
    return VAE(
        _Looking(encoder, causal),
        _Told(decoder, alone),
        family=DiagonalNormal((config.length, config.channels)),
        prior=_OneOf(_priors(config), number),
        likelihood=Bernoulli(),
    )


class WayLoss(eqx.Module):
    """The loss of a way to train; the lowest rate of any sequence so far is carried."""

    way: Way
    target: float = eqx.field(static=True)

    def __call__(
        self, vae: VAE, x: Array, *, key: PRNGKeyArray, state: Float[Array, ""]
    ) -> tuple[Array, dict[str, Array], Array]:
        terms = batch_terms(vae, x, key=key)
        elbo, metrics = Beta(1.0)(terms)
        value = jnp.where(self.way.target, TargetRate(self.target)(terms)[0], elbo)
        value = jnp.where(self.way.alone, metrics["distortion"], value)
        lowest = jnp.min(terms.rate)
        return value, {"rate": metrics["rate"], "lowest": lowest}, jnp.minimum(state, lowest)


def train(config: Config, way: Way, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Models of all seeds: their curves of training, and what they make of new sequences.

    Returns, with an axis of seeds in front: `rate`, the mean over the batch and over the steps of a
    point, and `lowest`, the same of the lowest rate of a sequence in a batch; `least`, that of any
    sequence in training; `steps`; `distortion` and `rates` of each new sequence; `x`, `states`, and
    of their posteriors `mean`, `scale` and a draw `z`; `mean_fit` and `scale_fit` of as many other
    sequences.
    """
    keys = jax.vmap(lambda key: jr.split(key, 3))(jnp.stack([jr.key(seed) for seed in seeds]))
    every = config.steps // min(_POINTS, config.steps)
    models, info = fit(
        eqx.filter_vmap(lambda key: autoencoder(config, way, key))(keys[:, 0]),
        WayLoss(jax.tree.map(jnp.asarray, way), target_rate(config)),
        lambda key: sequences(config, config.batch_size, key)[0],
        optimiser=optax.adam(config.learning_rate), steps=config.steps // every * every,
        log_every=every, state=jnp.full(len(seeds), jnp.inf), sequential=True, progress=False,
        key=keys[:, 1],
    )  # fmt: skip
    measured = eqx.filter_jit(
        lambda models: jax.lax.map(
            lambda run: _measure(config, eqx.combine(run[0], rest), run[1]), (models, keys[:, 2])
        )
    )
    arrays, rest = eqx.partition(models, eqx.is_array)
    return {
        "rate": info.history["rate"].T,
        "lowest": info.history["lowest"].T,
        "least": np.asarray(info.state),
        "steps": info.history["step"],
        **jax.device_get(measured(arrays)),
    }


def _measure(config: Config, vae: VAE, key: Array) -> dict[str, Array]:
    data_key, fit_key, key = jr.split(key, 3)
    x, states = sequences(config, config.evaluated, data_key)
    other, _ = sequences(config, config.evaluated, fit_key)
    terms = batch_terms(vae, x, key=key)
    q, q_fit = terms.posterior.base_dist, jax.vmap(vae.posterior)(other).base_dist
    return {
        "x": x,
        "states": states,
        "distortion": terms.distortion,
        "rates": terms.rate,
        "z": terms.z,
        "mean": q.loc,
        "scale": q.scale,
        "mean_fit": q_fit.loc,
        "scale_fit": q_fit.scale,
    }
