"""The network of the recipe `noisy-natural-gradient`, its posteriors and their rivals."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro import sample
from numpyro.infer import MCMC, NUTS

from pullback.data import standardise
from pullback.optim import AbstractCurvature, Diagonal, Kronecker, WeightPosterior, fit_posterior
from pullback.recipes._kit.checks import check_above_zero
from pullback.train import fit


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Splits of the patients, first weights and orders of the batches."""
    train: int = 150
    """Patients to learn from; the other of 442 are tested on."""
    width: int = 20
    """Hidden units."""
    noise: float = 0.5
    """Variance of a measurement, in units of what is predicted."""
    prior: float = 0.5
    """Variance of the prior of each weight."""
    steps: int = 6000
    """Training steps of every posterior."""
    batch_size: int = 50
    """Patients a step."""
    rate: float = 0.01
    """Learning rate, and a tenth of it in the second half; momentum is 0.9."""
    damping: float = 0.01
    """Of the steps, beside that of the prior."""
    adam_rate: float = 0.005
    """Learning rate of Bayes by Backprop, which falls to 0 along a cosine."""
    warmup: int = 300
    """Steps in which NUTS adapts itself."""
    samples: int = 600
    """Weights that NUTS draws, and networks of each posterior."""
    line_steps: int = 6000
    """Training steps of the linear regression."""
    first: int = 20
    """Rows that active learning starts from."""
    asked: int = 12
    """Rows that it asks for."""
    repeats: int = 6
    """Sets of as many rows drawn at random, to compare with."""
    pool: int = 300
    """Rows to choose from."""
    active_noise: float = 0.5
    """Variance of a measurement there, of numbers that vary by some 25."""
    active_steps: int = 2000
    """Training steps after each row that is added, and after each episode of the car."""
    episodes: int = 8
    """Episodes of the mountain car, the first of random actions."""
    held: int = 20
    """Actions of an episode, each held for 10 steps."""

    def __post_init__(self):
        check_above_zero(self)
        if self.train >= 442:
            raise ValueError(f"train must be below the 442 patients, got {self.train}")
        if self.batch_size > self.train:
            raise ValueError(f"batch_size must be at most train, got {self.batch_size}")
        if self.first + self.asked > self.pool:
            raise ValueError(f"pool must hold {self.first + self.asked} rows, got {self.pool}")


class Rows(NamedTuple):
    """Standardised rows to learn from and to test on, and the unit of what is predicted."""

    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"]
    test_x: Float[np.ndarray, "m d"]
    test_y: Float[np.ndarray, " m"]
    unit: float


def rows_of(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray) -> Rows:
    """Standardised by the rows to learn from."""
    (x, test_x), _ = standardise(x, test_x)
    (y, test_y), scaler = standardise(y, test_y)
    x, y, test_x, test_y = (np.asarray(a, np.float32) for a in (x, y, test_x, test_y))
    return Rows(x, y, test_x, test_y, float(scaler.scale))


def network(inputs: int, width: int, key: PRNGKeyArray) -> eqx.nn.MLP:
    return eqx.nn.MLP(inputs, "scalar", width, 1, jnp.tanh, key=key)


def posterior(
    config: Config,
    curvature: AbstractCurvature,
    x: np.ndarray,
    y: np.ndarray,
    key: PRNGKeyArray,
    *,
    steps: int | None = None,
    kl_weight: float | int = 1,
) -> WeightPosterior:
    """A posterior over the weights of the network."""
    steps = config.steps if steps is None else steps
    fall = optax.piecewise_constant_schedule(config.rate, {max(1, steps // 2): 0.1})
    first, key = jr.split(key)
    return fit_posterior(
        network(x.shape[1], config.width, first), normal(config), x, y, curvature=curvature,
        prior_variance=config.prior, kl_weight=kl_weight, damping=config.damping,
        optimiser=optax.chain(optax.ema(0.9), optax.scale_by_learning_rate(fall)),
        steps=steps, batch_size=config.batch_size, inverse_every=20, draws="batch",
        log_every=steps, progress=False, key=key,
    )[0]  # fmt: skip


def normal(config: Config) -> Any:
    """The likelihood of an output."""
    scale = np.float32(np.sqrt(config.noise))
    return lambda mean: dist.Normal(mean, scale)


METHODS = {"noisy K-FAC": Kronecker(), "noisy Adam": Diagonal()}


class Factorised(eqx.Module):
    """A normal posterior of each weight for itself, as Bayes by Backprop trains it."""

    mean: eqx.nn.MLP
    width: eqx.nn.MLP

    def draw(self, key: PRNGKeyArray) -> eqx.nn.MLP:
        means, rest = eqx.partition(self.mean, eqx.is_inexact_array)
        widths = eqx.filter(self.width, eqx.is_inexact_array)
        flat, back = jax.flatten_util.ravel_pytree(means)
        scale = jax.nn.softplus(jax.flatten_util.ravel_pytree(widths)[0])
        return eqx.combine(back(flat + scale * jr.normal(key, flat.shape, flat.dtype)), rest)


def by_backprop(config: Config, rows: Rows, key: PRNGKeyArray) -> Factorised:
    """Bayes by Backprop: the bound's gradient through the draws, by Adam."""
    likelihood, count = normal(config), len(rows.y)

    def loss(q: Factorised, batch: Any, *, key: PRNGKeyArray) -> tuple[Array, dict]:
        x, y = batch
        fitted = jnp.mean(likelihood(jax.vmap(q.draw(key))(x)).log_prob(y))
        flat = [
            jax.flatten_util.ravel_pytree(eqx.filter(part, eqx.is_inexact_array))[0]
            for part in (q.mean, q.width)
        ]
        scale = jax.nn.softplus(flat[1])
        ratio = (jnp.square(scale) + jnp.square(flat[0])) / config.prior
        kl = jnp.sum(ratio - 1 - 2 * jnp.log(scale) + np.log(config.prior)) / 2
        return kl / count - fitted, {}

    first, key = jr.split(key)
    mean = network(rows.x.shape[1], config.width, first)
    width = jax.tree.map(lambda a: jnp.full_like(a, -4) if eqx.is_inexact_array(a) else a, mean)
    return fit(
        Factorised(mean, width), loss, (rows.x, rows.y),
        optimiser=optax.adam(optax.cosine_decay_schedule(config.adam_rate, config.steps)),
        steps=config.steps, batch_size=config.batch_size, log_every=config.steps, progress=False,
        key=key,
    )[0]  # fmt: skip


def by_nuts(config: Config, rows: Rows, key: PRNGKeyArray) -> Float[Array, "draws m"]:
    """Outputs at the test rows of networks that the no-U-turn sampler draws."""
    chain = _chain(config, rows.x.shape[1])
    chain.run(key, jnp.asarray(rows.x), jnp.asarray(rows.y))
    weights = list(chain.get_samples().values())
    return jax.vmap(lambda *w: _outputs(w, jnp.asarray(rows.test_x)))(*weights)


def _outputs(weights: Any, x: Array) -> Array:
    into, last, out, shift = weights
    return jnp.tanh(x @ into.T + shift) @ out + last


@functools.lru_cache(maxsize=4)
def _chain(config: Config, inputs: int) -> MCMC:
    """The sampler, kept for other seeds: it is compiled once."""
    prior = dist.Normal(0, np.float32(np.sqrt(config.prior)))
    shapes = {"into": (config.width, inputs), "last": (), "out": (config.width,),
              "shift": (config.width,)}  # fmt: skip

    def model(x: Array, y: Array) -> None:
        weights = [
            sample(name, prior.expand(shape).to_event(len(shape))) for name, shape in shapes.items()
        ]
        sample("y", normal(config)(_outputs(weights, x)), obs=y)

    return MCMC(
        NUTS(model, max_tree_depth=7), num_warmup=config.warmup, num_samples=config.samples,
        progress_bar=False,
    )  # fmt: skip
