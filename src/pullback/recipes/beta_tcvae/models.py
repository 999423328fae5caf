"""What the recipe `beta-tcvae` trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from pullback.bounds import AbstractObjective, Beta, TotalCorrelation
from pullback.models.vae import VAE, Bernoulli, ObjectiveLoss, mlp_vae
from pullback.train import fit

_POINTS = 50  # of a curve of training


@dataclass(frozen=True)
class Config:
    seeds: int = 4
    """How many models are trained of each kind."""
    betas: tuple[float, ...] = (4.0, 8.0)
    """Weights above 1, rising: of the whole rate for beta-VAE, of the total correlation alone for
    beta-TCVAE."""
    latent: int = 6
    """Length of z."""
    width: int = 128
    """Size of the two hidden layers of the encoder, and of the decoder."""
    steps: int = 2500
    """Training steps of a model."""
    warm_up: int = 1000
    """Steps in which the weights of the rate rise from 0."""
    batch_size: int = 100
    """Images in a training step."""
    learning_rate: float = 2e-3
    """Adam's learning rate."""
    table_rows: int = 50
    """Samples at a time whose densities under all posteriors of a batch are held in memory; 0: all
    of them."""
    samples: int = 4000
    """Samples of the latents, of each model, that the gap and the exact parts are measured on."""
    batches: int = 200
    """Batches on which the estimates from a batch are compared."""

    def __post_init__(self):
        for name in ("seeds", "steps", "warm_up", "width", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("latent", "batch_size", "batches"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        if not self.betas or sorted(set(self.betas)) != [*self.betas] or self.betas[0] <= 1:
            raise ValueError(f"betas must be above 1, rising, got {self.betas}")


class Kind(NamedTuple):
    """A way to train: `beta` weighs the total correlation alone, or else the whole rate."""

    beta: float
    alone: bool = False


def kinds(config: Config) -> dict[str, Kind]:
    """The ways to train, by name."""
    return {
        "VAE": Kind(1.0),
        **{f"beta-VAE {beta:g}": Kind(beta) for beta in config.betas},
        **{f"beta-TCVAE {beta:g}": Kind(beta, alone=True) for beta in config.betas},
    }


def train(
    config: Config, kind: Kind, x: Float[np.ndarray, "n ..."], seeds: Sequence[int]
) -> tuple[Float[np.ndarray, "seeds params"], dict[str, np.ndarray]]:
    """Models of all seeds, a row of parameters each, and metrics in training, [seeds, points]."""
    images = jnp.asarray(x, float)
    keys = jax.vmap(jr.split)(jnp.stack([jr.key(seed) for seed in seeds]))
    objective = Warmed(
        jnp.asarray(kind.beta, float), kind.alone, config.warm_up, len(x), config.table_rows or None
    )
    points = min(_POINTS, config.steps)
    # One after another, for the products of stacked matrices are slow on a CPU.
    models, info = fit(
        eqx.filter_vmap(lambda key: new_vae(config, x.shape[1:], key))(keys[:, 0]),
        ObjectiveLoss(objective), images, optimiser=optax.adam(config.learning_rate),
        steps=config.steps // points * points, batch_size=min(config.batch_size, len(x)),
        log_every=config.steps // points, sequential=True, progress=False, key=keys[:, 1],
    )  # fmt: skip
    params = jax.vmap(lambda m: ravel_pytree(m)[0])(eqx.filter(models, eqx.is_inexact_array))
    curves = {n: v.T for n, v in info.history.items() if n not in ("step", "steps_per_second")}
    return np.asarray(params), curves


class Warmed(eqx.Module):
    """The objective at a step: the weights of the rate, or of its parts, rise from 0."""

    beta: Float[Array, ""]
    alone: bool = eqx.field(static=True)
    warm_up: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    rows: int | None = eqx.field(static=True)

    def __call__(self, step: Int[Array, ""]) -> AbstractObjective:
        warmth = jnp.minimum(step / self.warm_up, 1).astype(self.beta.dtype)
        if not self.alone:
            return Beta(self.beta * warmth)
        return TotalCorrelation(
            self.beta * warmth, alpha=warmth, gamma=warmth, size=self.size, batch_size=self.rows
        )


def new_vae(config: Config, shape: tuple[int, ...], key: Array) -> VAE:
    """Bernoulli pixels, whose likelihood of grey levels is a mean over binary images."""
    return mlp_vae(
        shape, config.latent, config.width, activation=jnp.tanh, likelihood=Bernoulli(), key=key
    )


def vae_of(config: Config, row: Float[Array, " params"], shape: tuple[int, ...]) -> VAE:
    """The model of a row of trained parameters."""
    params, rest = eqx.partition(new_vae(config, shape, jr.key(0)), eqx.is_inexact_array)
    return eqx.combine(ravel_pytree(params)[1](row), rest)
