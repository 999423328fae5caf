"""What the recipe `mi-bounds` trains and measures: Gaussians whose mutual information is known."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback.bounds import (
    MLPBaseline,
    SeparableCritic,
    dv,
    infonce,
    interpolated,
    js_nwj,
    leave_one_out_upper,
    nwj,
    tnce,
)
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.stack import made_stack
from pullback.train import fit

SMALL, HALF = 0.01, 0.5


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many critics are trained for each bound and each mutual information."""
    informations: tuple[float, ...] = (2.0, 6.0, 10.0)
    """The true mutual informations in nats, rising."""
    dim: int = 20
    """Entries of x, and of y."""
    batch_size: int = 64
    """Pairs in a batch, of training and of every estimate."""
    width: int = 256
    """Size of the two hidden layers of each of the critic's nets."""
    embedding: int = 32
    """Size of the space in which the critic takes inner products."""
    baseline_width: int = 128
    """Size of the hidden layers of the baseline that I_alpha learns."""
    steps: int = 2500
    """Training steps of a critic, each on new pairs."""
    learning_rate: float = 5e-4
    """Adam's learning rate."""
    batches: int = 300
    """Batches that an estimate is measured on."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, batch_size=2, batches=2)
        check_rising(self, "informations", count=2, above=0)

    @property
    def ceiling(self) -> float:
        """Of InfoNCE: log B."""
        return math.log(self.batch_size)


class Model(eqx.Module):
    """A critic, and the baseline that I_alpha learns beside it."""

    critic: SeparableCritic
    log_baseline: MLPBaseline


def _of_scores(bound: Callable[[Array], Array]) -> Callable[[Model, Array, Array], Array]:
    return lambda model, x, y: bound(model.critic(x, y))


def _between(alpha: float) -> Callable[[Model, Array, Array], Array]:
    def bound(model: Model, x: Array, y: Array) -> Array:
        return interpolated(model.critic(x, y), jax.vmap(model.log_baseline)(y), alpha)

    return bound


# What is trained, and what it is called.
_OBJECTIVES = {
    "InfoNCE": _of_scores(infonce),
    "NWJ": _of_scores(nwj),
    "JS": _of_scores(js_nwj),
    f"I_{SMALL:g}": _between(SMALL),
    f"I_{HALF:g}": _between(HALF),
}
TRAINED = tuple(_OBJECTIVES)

# What is measured at the optimal critic, given the log-ratio of p(y|x) to p(y).
_AT_OPTIMUM: dict[str, Callable[[Array], Array]] = {
    "InfoNCE": infonce,
    "NWJ": lambda f: nwj(f + 1),
    f"I_{SMALL:g}": lambda f: interpolated(f, jnp.zeros((), f.dtype), SMALL),
    "I_0.1": lambda f: interpolated(f, jnp.zeros((), f.dtype), 0.1),
    f"I_{HALF:g}": lambda f: interpolated(f, jnp.zeros((), f.dtype), HALF),
    "DV": dv,
    "TNCE": tnce,
    "L1Out": leave_one_out_upper,
}


def _rho(information: Array, dim: int) -> Array:
    return jnp.sqrt(-jnp.expm1(-2 * information / dim))


def _pairs(config: Config, information: Array, key: Array) -> tuple[Array, Array]:
    """A batch of pairs, each entry of y correlated with the same of x."""
    x_key, noise_key = jr.split(key)
    rho = _rho(information, config.dim)
    x = jr.normal(x_key, (config.batch_size, config.dim))
    return x, rho * x + jnp.sqrt(1 - rho**2) * jr.normal(noise_key, x.shape)


def _log_ratio(config: Config, information: Array, x: Array, y: Array) -> Array:
    """log p(y_i|x_j) / p(y_i), the critic that is optimal."""
    rho = _rho(information, config.dim)
    inner = y @ x.T
    lengths = jnp.sum(y**2, axis=1)[:, None] + jnp.sum(x**2, axis=1)[None]
    return information + (rho * inner - rho**2 * lengths / 2) / (1 - rho**2)


@functools.partial(jax.jit, static_argnums=0)
def optimal(
    config: Config, informations: Float[Array, " info"], seeds: Int[Array, " seeds"]
) -> dict[str, Float[Array, "info seeds batch"]]:
    """Every estimate at the optimal critic, batch by batch."""

    def of_batch(information: Array, key: Array) -> dict[str, Array]:
        scores = _log_ratio(config, information, *_pairs(config, information, key))
        return {name: bound(scores) for name, bound in _AT_OPTIMUM.items()}

    def of_run(information: Array, seed: Array) -> dict[str, Array]:
        keys = jr.split(jr.fold_in(jr.key(seed), 0), config.batches)
        return jax.lax.map(lambda key: of_batch(information, key), keys)

    over_seeds = jax.vmap(of_run, in_axes=(None, 0))
    return jax.vmap(over_seeds, in_axes=(0, None))(informations, seeds)


def train(config: Config, name: str, seeds: Sequence[int]) -> Float[Array, "info seeds batch"]:
    """Train critics with one bound, at every mutual information and seed: it, on new batches."""
    informations, all_seeds = map(np.ravel, np.meshgrid(config.informations, seeds, indexing="ij"))
    keys = jax.vmap(lambda key: jr.split(jr.fold_in(key, 1), 3))(
        jnp.stack([jr.key(seed) for seed in all_seeds])
    )
    truths = jnp.asarray(informations, float)
    loss = NegativeBound(config, name)
    # One after another, for the weights of one critic and their moments fit into the cache, and
    # those of nine do not.
    (models, _), _ = fit(
        (made_stack(_model, keys[:, 0], config), truths), loss,
        trainable=(True, False), optimiser=optax.adam(config.learning_rate), steps=config.steps,
        sequential=True, progress=False, key=keys[:, 1],
    )  # fmt: skip
    arrays, rest = eqx.partition(models, eqx.is_array)

    def of_run(run: tuple[Any, Array, Array]) -> Array:
        both = eqx.combine(run[0], rest), run[1]
        keys = jr.split(run[2], config.batches)
        return jax.lax.map(lambda key: -loss(both, None, key=key)[0], keys)

    values = jax.lax.map(of_run, (arrays, truths, keys[:, 2]))
    return values.reshape(len(config.informations), len(seeds), -1)


class NegativeBound(eqx.Module):
    """Minus a bound on fresh pairs, of a model and of their true mutual information."""

    config: Config = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __call__(
        self, both: tuple[Model, Float[Array, ""]], batch: None, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        model, information = both
        x, y = _pairs(self.config, information, key)
        return -_OBJECTIVES[self.name](model, x, y), {}


def _model(config: Config, *, key: PRNGKeyArray) -> Model:
    critic_key, baseline_key = jr.split(key)
    critic = SeparableCritic(
        config.dim, config.dim, width=config.width, embedding=config.embedding, key=critic_key
    )
    return Model(critic, MLPBaseline(config.dim, width=config.baseline_width, key=baseline_key))
