"""What the recipe `beta-tcvae` trains."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    """Adam's."""
    table_rows: int = 50
    """Samples at a time whose densities under all posteriors of a batch are held in memory; 0: all
    of them."""
    samples: int = 4000
    """Samples of the latents, of each model, that the gap and the exact parts are measured on."""
    batches: int = 200
    """Batches on which the estimates from a batch are compared."""
    shrink: int = 4
    """With `--data`: the side of the blocks of dSprites' pixels that are averaged."""
    thin: int = 4
    """With `--data`: one in so many of dSprites' orientations, and of its places, is kept."""

    def __post_init__(self):
        for name in ("seeds", "steps", "warm_up", "width", "samples", "thin"):
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
    params, curves = _train(config, kind.alone, jnp.asarray(kind.beta), images, jnp.asarray(seeds))
    return np.asarray(params), {name: np.asarray(curve) for name, curve in curves.items()}


# One program for all weights: they are run-time values. Runs follow each other, for the products of
# stacked matrices are slow on a CPU.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _train(
    config: Config,
    alone: bool,
    beta: Float[Array, ""],
    x: Float[Array, "n ..."],
    seeds: Int[Array, " seeds"],
) -> tuple[Any, dict[str, Array]]:
    adam = optax.adam(config.learning_rate)
    points = min(_POINTS, config.steps)

    def objective(step: Int[Array, ""]) -> AbstractObjective:
        warmth = jnp.minimum(step / config.warm_up, 1).astype(beta.dtype)
        if not alone:
            return Beta(beta * warmth)
        return TotalCorrelation(
            beta * warmth, alpha=warmth, gamma=warmth, size=len(x),
            batch_size=config.table_rows or None,
        )  # fmt: skip

    loss = ObjectiveLoss(objective)

    def of_seed(seed: Int[Array, ""]) -> tuple[Any, dict[str, Array]]:
        model_key, key = jr.split(jr.key(seed))
        params, rest = eqx.partition(new_vae(config, x.shape[1:], model_key), eqx.is_inexact_array)

        def step(carry: tuple, number: Int[Array, ""]) -> tuple[tuple, dict[str, Array]]:
            params, state = carry
            rows_key, draw_key = jr.split(jr.fold_in(key, number))
            # Without replacement, as the weights of the batch ask for.
            rows = jr.permutation(rows_key, len(x))[: config.batch_size]

            def of(params: Any) -> tuple[Array, dict[str, Array]]:
                return loss(eqx.combine(params, rest), x[rows], key=draw_key, step=number)

            slope, metrics = jax.grad(of, has_aux=True)(params)
            updates, state = adam.update(slope, state)
            return (optax.apply_updates(params, updates), state), metrics

        def chunk(carry: tuple, numbers: Array) -> tuple[tuple, dict[str, Array]]:
            carry, metrics = jax.lax.scan(step, carry, numbers)
            return carry, jax.tree.map(jnp.mean, metrics)

        numbers = jnp.arange(config.steps // points * points).reshape(points, -1)
        (params, _), curves = jax.lax.scan(chunk, (params, adam.init(params)), numbers)
        return ravel_pytree(params)[0], curves

    return jax.lax.map(of_seed, seeds)


def new_vae(config: Config, shape: tuple[int, ...], key: Array) -> VAE:
    """Bernoulli pixels, whose likelihood of grey levels is a mean over binary images."""
    return mlp_vae(
        shape, config.latent, config.width, activation=jnp.tanh, likelihood=Bernoulli(), key=key
    )


def vae_of(config: Config, row: Float[Array, " params"], shape: tuple[int, ...]) -> VAE:
    """The model of a row of trained parameters."""
    params, rest = eqx.partition(new_vae(config, shape, jr.key(0)), eqx.is_inexact_array)
    return eqx.combine(ravel_pytree(params)[1](row), rest)
