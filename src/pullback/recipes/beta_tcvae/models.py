"""What the recipe `beta-tcvae` trains."""

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback.bounds import AbstractObjective, Beta, TotalCorrelation
from pullback.games import GANStep, fit_gan
from pullback.models.vae import VAE, Bernoulli, FactorGame, ObjectiveLoss, mlp_vae
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.stack import made_stack
from pullback.train import fit


@dataclass(frozen=True)
class Config:
    seeds: int = 12
    """How many models are trained of each kind."""
    betas: tuple[float, ...] = (2.0, 8.0)
    """Weights above 1, rising: of the whole rate for beta-VAE, of the total correlation alone for
    beta-TCVAE."""
    gamma: float = 20.0
    """Weight of the total correlation beside the rate, for FactorVAE: the best of 7, 20, 35 and 80
    at one base seed."""
    latent: int = 6
    """Length of z."""
    width: int = 128
    """Size of the two hidden layers of the encoder, and of the decoder."""
    steps: int = 2000
    """Training steps of a model."""
    warm_up: int = 1000
    """Steps in which the weights of the rate rise from 0; but for FactorVAE."""
    batch_size: int = 64
    """Images in a training step."""
    learning_rate: float = 2e-3
    """Adam's learning rate."""
    critic_width: int = 64
    """Size of the three hidden layers of FactorVAE's discriminator."""
    critic_rate: float = 3e-3
    """Its learning rate, by Adam; the better of 1e-3 and 3e-3."""
    table_rows: int = 32
    """Samples at a time whose densities under all posteriors of a batch are held in memory; 0: all
    of them."""
    samples: int = 4000
    """Samples of the latents, of each model, that the gap and the exact parts are measured on."""
    batches: int = 50
    """Batches of each seed whose estimate of the total correlation is held against the exact one.
    """

    def __post_init__(self):
        check_above_zero(self, but=("table_rows",))
        check_least(self, latent=2, batch_size=2, batches=2)
        check_rising(self, "betas", above=1)


def train(
    config: Config, beta: float, alone: bool, x: Float[np.ndarray, "n ..."], seeds: Sequence[int]
) -> VAE:
    """Models of all seeds, stacked: `beta` weighs the total correlation alone, or the whole rate.

    The pixels are Bernoulli, whose likelihood of grey levels is a mean over binary images.
    """
    keys, models = _made(config, x.shape[1:], seeds)
    rows = config.table_rows or None
    objective = Warmed(jnp.asarray(beta, float), alone, config.warm_up, len(x), rows)
    # One after another, for the products of stacked matrices are slow on a CPU.
    models, _ = fit(
        models, ObjectiveLoss(objective), jnp.asarray(x, float),
        optimiser=optax.adam(config.learning_rate), steps=config.steps,
        batch_size=min(config.batch_size, len(x)), sequential=True, progress=False, key=keys,
    )  # fmt: skip
    return models


def train_against(config: Config, x: Float[np.ndarray, "n ..."], seeds: Sequence[int]) -> VAE:
    """FactorVAE: a weight on the total correlation, which a discriminator estimates."""
    keys, models = _made(config, x.shape[1:], seeds)
    critics = made_stack(_critic, jax.vmap(jr.fold_in, (0, None))(keys, 1), config)
    step = GANStep(
        optax.adam(config.learning_rate), optax.adam(config.critic_rate, b1=0.5, b2=0.9),
        FactorGame(config.gamma),
    )  # fmt: skip
    models, _, _ = fit_gan(
        models,
        critics,
        jnp.asarray(x, float),
        step,
        steps=config.steps,
        batch_size=min(config.batch_size, len(x)),
        sequential=True,
        progress=False,
        key=keys,
    )
    return models


def _made(config: Config, shape: tuple[int, ...], seeds: Sequence[int]) -> tuple[Array, VAE]:
    """Keys for the training of each seed, and models, which are the same for each kind."""
    keys = jax.vmap(jr.split)(jnp.stack([jr.key(seed) for seed in seeds]))
    return keys[:, 1], made_stack(
        mlp_vae, keys[:, 0], shape, config.latent, config.width, activation=jnp.tanh,
        likelihood=Bernoulli(),
    )  # fmt: skip


def _critic(config: Config, *, key: PRNGKeyArray) -> eqx.nn.MLP:
    return eqx.nn.MLP(config.latent, "scalar", config.critic_width, 3, jax.nn.leaky_relu, key=key)


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
