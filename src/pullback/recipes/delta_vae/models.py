"""What the recipe `delta-vae` trains: autoencoders of sequences, row by row."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from pullback.bounds import DiagonalNormal, TargetRate
from pullback.models.vae import (
    VAE,
    AR1Prior,
    Bernoulli,
    RasterDecoder,
    SequenceDecoder,
    batch_terms,
)
from pullback.nn import AntiCausal, RecurrentNet
from pullback.recipes._kit.checks import check_above_zero, check_between, check_least, check_rising
from pullback.sampling import StandardNormal


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
        check_above_zero(self)
        check_least(self, length=2, evaluated=20, batch_of_bound=2)
        check_rising(self, "alphas", above=0, below=1)
        check_between(self, 0.5, 1, "stay", "contrast")
        if self.evaluated % self.batch_of_bound:
            raise ValueError(
                f"evaluated must be a multiple of batch_of_bound, got {self.evaluated} and "
                f"{self.batch_of_bound}"
            )


class Way(NamedTuple):
    """A way to train: with which prior, for what rate, and what the encoder sees.

    A `target` of zero is the ELBO, for no rate is below it.
    """

    prior: Any
    target: float = 0.0
    causal: bool = False


class WayLoss(eqx.Module):
    """Minus the ELBO, or the objective with a target: one program for both."""

    target: Float[Array, ""]

    def __call__(self, vae: VAE, x: Array, *, key: Array) -> tuple[Array, dict[str, Array]]:
        return TargetRate(self.target)(batch_terms(vae, x, key=key))


def ways(config: Config) -> dict[str, Way]:
    """The plain one, those of each correlation, and two that differ from the last of these."""
    plain = StandardNormal((config.length, 1))
    deltas = {f"delta-VAE-{a:g}": Way(AR1Prior((a,), config.length)) for a in config.alphas}
    last = [*deltas.values()][-1].prior
    return {
        "VAE": Way(plain),
        **deltas,
        "causal-encoder": Way(last, causal=True),
        "target-rate": Way(plain, target=last.committed_rate),
    }


def autoencoder(
    rows: tuple[int, int], prior: Any, width: int, *, causal: bool = False, raster: bool = False,
    key: Array,
) -> VAE:  # fmt: skip
    """A recurrent decoder that knows the rows above, and an encoder of those that are to come.

    With `causal` the encoder sees what the decoder has seen. With `raster` the decoder knows the
    pixels to the left too.
    """
    encoder_key, net_key, head_key = jr.split(key, 3)
    (length, size), channels = rows, prior.shape[1]
    encoder = RecurrentNet(size, 2 * channels, width, key=encoder_key)
    net = RecurrentNet(size, width, width, key=net_key)
    sizes: Any = {"steps": length, "latent": channels, "width": width, "key": head_key}
    decoder = (RasterDecoder(net, Bernoulli(), **sizes) if raster
               else SequenceDecoder(net, outputs=(size,), **sizes))  # fmt: skip
    return VAE(
        encoder if causal else AntiCausal(encoder), decoder,
        family=DiagonalNormal(prior.shape), prior=prior, likelihood=Bernoulli(),
    )  # fmt: skip


class DecoderLoss(eqx.Module):
    """Nats of an image under a VAE's decoder alone, whose latents are all zero."""

    def __call__(self, vae: VAE, x: Array, *, key: Array) -> tuple[Array, dict[str, Array]]:
        return jnp.mean(self.of_each(vae, x)), {}

    def of_each(self, vae: VAE, x: Float[Array, "n row pixel"]) -> Float[Array, " n"]:
        """Of every image."""
        z = jnp.zeros(vae.prior.shape)
        nats = lambda x: -jnp.sum(vae.likelihood.log_prob(vae.decoder(z, x), x))
        return jax.vmap(nats)(x)


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
