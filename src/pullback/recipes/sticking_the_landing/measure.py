"""What the recipe `sticking-the-landing` measures."""

from collections.abc import Callable, Sequence
from typing import Any

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
    value_and_grad,
)
from pullback.train import fit

ESTIMATORS: dict[str, AbstractEstimator] = {
    "total": Reparameterised(),
    "path": PathDerivative(),
}
MEAN = 0.5  # of the normal whose spread is varied


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


def variance_curve(spreads: Sequence[float], draws: int, seed: int) -> dict[str, Any]:
    """Variance of both gradients of an ELBO by the spread of q, beside their closed forms."""
    found: dict[str, Any] = {"exact": closed_forms(np.asarray(spreads))}
    keys = jr.split(jr.key(seed), draws)
    for name, estimator in ESTIMATORS.items():
        loss = Normal1D(ELBO(), estimator)
        rows = [grad_stats(loss, jnp.array([MEAN, np.log(x)]), keys).variance for x in spreads]
        found[name] = np.stack(rows)
    return found


def weighted(samples: Sequence[int], draws: int, seed: int) -> list[dict[str, Any]]:
    """The derivative for the mean of importance-weighted bounds at q = N(1, 0.8^2), three ways."""
    params = jnp.array([1.0, np.log(0.8)])
    ways = {
        "total": Reparameterised(),
        "path": PathDerivative(allow_bias=True),
        "doubly": DoublyReparameterised(),
    }
    rows = []
    for k in samples:
        keys = jr.split(jr.fold_in(jr.key(seed), k), draws)
        row: dict[str, Any] = {"k": k}
        for name, estimator in ways.items():
            loss = Normal1D(ImportanceWeighted(k), estimator)
            stats = grad_stats(loss, params, keys, batch_size=10_000)
            row[name] = {
                "mean": float(stats.mean[0]),
                "error": float(stats.standard_error[0]),
                "variance": float(stats.variance[0]),
                "snr": float(stats.snr[0]),
            }
        rows.append(row)
    return rows


def draws_at_the_target(seed: int) -> dict[str, float]:
    """The largest entry of any of 100 path derivatives where q is the target, in float64."""
    families = {
        "diagonal normal": (
            lambda p: dist.Normal(p[0], jnp.exp(p[1])).to_event(1),
            ((3,), (3,)),
        ),
        "full normal": (_full_normal, ((3,), (3,), (3, 3))),
        "mixture": (_mixture, ((3,), (3, 2), (3, 2))),
        "flow": (
            lambda p: dist.TransformedDistribution(
                dist.Normal(p[0], jnp.exp(p[1])), dist.transforms.SigmoidTransform()
            ),
            ((), ()),
        ),
    }
    found = {}
    with jax.enable_x64(True):
        for number, (name, (family, shapes)) in enumerate(families.items()):
            key = jr.fold_in(jr.key(seed), number)
            params = tuple(
                0.5 * jr.normal(k, shape, jnp.float64)
                for k, shape in zip(jr.split(key, len(shapes)), shapes, strict=True)
            )
            grads = _zero_draws(family, params, jr.split(key, 100))
            found[name] = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(grads))
    return found


@eqx.filter_jit
def _zero_draws(family: Callable, params: tuple, keys: Key[Array, " draw"]) -> tuple:
    target = family(params)
    gradient = value_and_grad(
        lambda z, q: target.log_prob(z) - q.log_prob(z), family, estimator=PathDerivative()
    )
    return jax.vmap(lambda key: gradient(params, key=key).params)(keys)


# Descents: targets and families by name.


def _full_normal(params: Sequence[Array]) -> Any:
    mean, log_diagonal, lower = params
    scale = jnp.tril(lower, -1) + jnp.diag(jnp.exp(log_diagonal))
    return dist.MultivariateNormal(mean, scale_tril=scale)


def _diagonal_normal(params: Sequence[Array]) -> Any:
    return dist.Normal(params[0], jnp.exp(params[1])).to_event(1)


def _mixture(params: Sequence[Array]) -> Any:
    logits, means, log_spreads = params
    return dist.MixtureSameFamily(
        dist.Categorical(logits=logits), dist.Normal(means, jnp.exp(log_spreads)).to_event(1)
    )


FAMILIES = {"full": _full_normal, "diagonal": _diagonal_normal, "mixture": _mixture}


def _problem(family: str, dim: int, key: PRNGKeyArray) -> tuple[tuple, tuple]:
    """Parameters of a random target, and those that a descent starts from."""
    first, second, third = jr.split(key, 3)
    if family == "mixture":
        angles = 2 * jnp.pi * jnp.arange(3) / 3
        means = 2.0 * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
        target = (
            jnp.array([0.0, 0.5, -0.5]),
            means + 0.3 * jr.normal(first, (3, 2)),
            -0.5 + 0.3 * jr.normal(second, (3, 2)),
        )
        moved = 0.5 * jr.normal(third, (3, 2))
        return target, (jnp.zeros(3), target[1] + moved, jnp.zeros((3, 2)))
    zeros = jnp.zeros(dim)
    log_diagonal = 0.3 * jr.normal(first, (dim,))
    if family == "diagonal":
        return (zeros, log_diagonal), (zeros, zeros)
    lower = jnp.tril(0.3 * jr.normal(second, (dim, dim)) / np.sqrt(dim), -1)
    return (zeros, log_diagonal, lower), (zeros, zeros, jnp.zeros((dim, dim)))


def _divergence(family: str, params: tuple, target: tuple) -> Array:
    q, p = FAMILIES[family](params), FAMILIES[family](target)
    if family != "mixture":
        return kl_divergence(q, p)
    axis = jnp.linspace(-7, 7, 281)
    points = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_q, log_p = (jax.vmap(d.log_prob)(points) for d in (q, p))
    return jnp.sum(jnp.exp(log_q) * (log_q - log_p)) * (axis[1] - axis[0]) ** 2


def descents(
    family: str,
    optimiser: optax.GradientTransformation,
    dim: int,
    steps: int,
    every: int,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """The exact divergence of q from its target while each estimator's gradient is followed."""
    keys = jax.vmap(jr.split)(jnp.stack([jr.key(seed) for seed in seeds]))
    target, start = jax.vmap(lambda key: _problem(family, dim, key))(keys[:, 0])
    found: dict[str, Any] = {"target": list(target)}
    divergence = lambda both, *, key: {"divergence": _divergence(family, *both)}
    for name, estimator in ESTIMATORS.items():
        (params, _), info = fit(
            (start, target), NegativeELBO(family, estimator), trainable=(True, False),
            optimiser=optimiser, steps=steps, log_every=every, validation=divergence,
            progress=False, key=keys[:, 1],
        )  # fmt: skip
        found["steps"] = info.history["step"]
        found[name] = info.history["validation_divergence"].T
        found[f"{name}_params"] = list(params)
    return found


class NegativeELBO(eqx.Module):
    """Minus the bound on a target by one sample, of the parameters of q and of the target."""

    family: str = eqx.field(static=True)
    estimator: AbstractEstimator

    def __call__(
        self, both: tuple[tuple, tuple], batch: None, *, key: Key[Array, ""]
    ) -> tuple[Array, dict[str, Array]]:
        q, target = map(FAMILIES[self.family], both)
        return -ELBO()(target.log_prob, q, estimator=self.estimator, key=key), {}


def density(params: Sequence[np.ndarray], axis: np.ndarray) -> np.ndarray:
    """The density of a mixture on a square grid."""
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_density = jax.vmap(_mixture([jnp.asarray(p) for p in params]).log_prob)
    values = jnp.exp(log_density(jnp.asarray(points, float)))
    return np.asarray(values).reshape(len(axis), len(axis))
