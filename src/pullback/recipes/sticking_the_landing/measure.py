"""What the recipe `sticking-the-landing` measures."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray

from pullback.bounds import ELBO, AbstractBound, ImportanceWeighted, kl_divergence
from pullback.sampling import (
    AbstractEstimator,
    DoublyReparameterised,
    PathDerivative,
    Reparameterised,
    grad_stats,
)
from pullback.train import fit

ESTIMATORS: dict[str, AbstractEstimator] = {
    "total": Reparameterised(),
    "path": PathDerivative(),
}
MEAN = 0.5  # of the normal whose spread is varied
SPREADS = (0.1, 0.2, 0.3, 0.5, 0.6, 0.8, 1.0, 1.3, 2.0, 3.0)


class Normal1D(eqx.Module):
    """Minus a bound on the target N(0, 1), of the normal whose mean and log-spread are given."""

    bound: AbstractBound
    estimator: AbstractEstimator

    def __call__(self, params: Float[Array, " 2"], *, key: PRNGKeyArray) -> Float[Array, ""]:
        q = dist.Normal(params[0], jnp.exp(params[1]))
        return self.bound(dist.Normal(0.0, 1.0).log_prob, q, estimator=self.estimator, key=key)


def closed_forms(s: Float[np.ndarray, " spread"]) -> dict[str, Float[np.ndarray, "spread 2"]]:
    """Variances of the derivatives for the mean and the log-spread of N(MEAN, s^2)."""
    shift = MEAN**2 * s**2
    return {
        "total": np.stack([s**2, shift + 2 * s**4], axis=1),
        "path": np.stack([(1 / s - s) ** 2, shift + 2 * (1 - s**2) ** 2], axis=1),
    }


def variance_curve(draws: int, seed: int) -> dict[str, Float[np.ndarray, "spread 2"]]:
    """Variance of both gradients of an ELBO by the spread of q."""
    keys = jr.split(jr.key(seed), draws)
    params = jnp.asarray([[MEAN, math.log(s)] for s in SPREADS])

    @jax.jit
    def of(params: Array) -> dict[str, Array]:
        return {
            name: grad_stats(Normal1D(ELBO(), estimator), params, keys).variance
            for name, estimator in ESTIMATORS.items()
        }

    found = [of(each) for each in params]
    return {name: np.stack([row[name] for row in found]) for name in ESTIMATORS}


def weighted(samples: Sequence[int], draws: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """The derivative for the mean of importance-weighted bounds at q = N(1, 0.8^2), three ways."""
    params = jnp.array([1.0, np.log(0.8)])
    ways = {
        "total": Reparameterised(),
        "path": PathDerivative(allow_bias=True),
        "doubly": DoublyReparameterised(),
    }

    def of(estimator: AbstractEstimator, k: int) -> Any:
        keys = jr.split(jr.fold_in(jr.key(seed), k), draws)
        return grad_stats(
            Normal1D(ImportanceWeighted(k), estimator), params, keys, batch_size=10_000
        )

    found = {name: [of(estimator, k) for k in samples] for name, estimator in ways.items()}
    entries = lambda rows, what: np.array([getattr(row, what)[0] for row in rows])
    return {
        name: {what: entries(rows, what) for what in ("mean", "standard_error", "snr")}
        for name, rows in found.items()
    }


class Descent(NamedTuple):
    """A family of distributions with random targets in it, and how they are followed."""

    family: Callable[[tuple], Any]
    problem: Callable[[int, PRNGKeyArray], tuple[tuple, tuple]]
    divergence: Callable[[Any, Any], Array]
    optimiser: optax.GradientTransformation


def full_normal(params: tuple) -> Any:
    mean, log_diagonal, lower = params
    scale = jnp.tril(lower, -1) + jnp.diag(jnp.exp(log_diagonal))
    return dist.MultivariateNormal(mean, scale_tril=scale)


def normal_problem(dim: int, key: PRNGKeyArray) -> tuple[tuple, tuple]:
    """Parameters of a random target, and those that a descent starts from."""
    first, second, _ = jr.split(key, 3)
    zeros = jnp.zeros(dim)
    lower = jnp.tril(0.3 * jr.normal(second, (dim, dim)) / np.sqrt(dim), -1)
    return (zeros, 0.3 * jr.normal(first, (dim,)), lower), (zeros, zeros, jnp.zeros((dim, dim)))


def mixture(params: tuple) -> Any:
    logits, means, log_spreads = params
    return dist.MixtureSameFamily(
        dist.Categorical(logits=logits), dist.Normal(means, jnp.exp(log_spreads)).to_event(1)
    )


def mixture_problem(dim: int, key: PRNGKeyArray) -> tuple[tuple, tuple]:
    """Three normals in the plane, and a start with the means moved."""
    del dim
    first, second, third = jr.split(key, 3)
    angles = 2 * jnp.pi * jnp.arange(3) / 3
    means = 2.0 * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
    means = means + 0.3 * jr.normal(first, (3, 2))
    target = jnp.array([0.0, 0.5, -0.5]), means, -0.5 + 0.3 * jr.normal(second, (3, 2))
    return target, (jnp.zeros(3), means + 0.5 * jr.normal(third, (3, 2)), jnp.zeros((3, 2)))


def divergence_in_the_plane(q: Any, p: Any) -> Array:
    """By a sum over a grid."""
    axis = jnp.linspace(-7, 7, 281)
    points = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_q, log_p = (jax.vmap(d.log_prob)(points) for d in (q, p))
    return jnp.sum(jnp.exp(log_q) * (log_q - log_p)) * (axis[1] - axis[0]) ** 2


def descend(
    descent: Descent, dim: int, steps: int, every: int, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """The exact divergence of q from its target while each estimator's gradient is followed."""
    keys = jax.vmap(jr.split)(jnp.stack([jr.key(seed) for seed in seeds]))
    target, start = jax.vmap(lambda key: descent.problem(dim, key))(keys[:, 0])

    def divergence(both: tuple[tuple, tuple], *, key: Key[Array, ""]) -> dict[str, Array]:
        return {"divergence": descent.divergence(*map(descent.family, both))}

    found = {}
    for name, estimator in ESTIMATORS.items():
        _, info = fit(
            (start, target), NegativeELBO(descent.family, estimator), trainable=(True, False),
            optimiser=descent.optimiser, steps=steps, log_every=every, validation=divergence,
            progress=False, key=keys[:, 1],
        )  # fmt: skip
        found |= {"steps": info.history["step"], name: info.history["validation_divergence"].T}
    return found


class NegativeELBO(eqx.Module):
    """Minus the bound on a target by one sample, of the parameters of q and of the target."""

    family: Callable[[tuple], Any] = eqx.field(static=True)
    estimator: AbstractEstimator

    def __call__(
        self, both: tuple[tuple, tuple], batch: None, *, key: Key[Array, ""]
    ) -> tuple[Array, dict[str, Array]]:
        q, target = map(self.family, both)
        return -ELBO()(target.log_prob, q, estimator=self.estimator, key=key), {}


def descents(full_rate: float, mixture_rate: float, adam_rate: float) -> dict[str, Descent]:
    full = full_normal, normal_problem, kl_divergence
    return {
        "full": Descent(*full, optax.sgd(full_rate)),
        "mixture": Descent(
            mixture, mixture_problem, divergence_in_the_plane, optax.sgd(mixture_rate)
        ),
        "adam": Descent(*full, optax.adam(adam_rate)),
    }
