"""Probabilities of discrete distributions whose derivatives are right at ties and at the ends.

NumPyro's cross entropies have slope 0 or 1 at the logit 0, where it is a half, and its clamped
probabilities have slope 0 at 0 and 1. These are used in their place, by `log_prob` and whatever
sums over outcomes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jaxtyping import Array


def binary_log_mass(logits: Array, b: Array) -> Array:
    """Of zeros and ones; linear in b, so that a straight-through gradient is that of the mean."""
    log_one, log_zero = -jax.nn.softplus(-logits), -jax.nn.softplus(logits)
    return times(b, log_one) + times(1 - b, log_zero)


def one_hot_log_mass(logits: Array, b: Array) -> Array:
    """Of one-hot vectors along the last axis, and of counts but for their coefficient."""
    return jnp.sum(times(b, jax.nn.log_softmax(logits)), axis=-1)


def times(count: Array, x: Array) -> Array:
    """The product, with 0 times infinity 0, and so with slopes that are numbers."""
    return count * jnp.where((count == 0) & jnp.isinf(x), 0, x)


def log_or_none(q: Any, z: Array) -> Array | None:
    """The log-probability of z inside of the support, or None where q is not known here."""
    match q:
        case dist.BernoulliLogits():
            logits = _real(q.logits)
            return binary_log_mass(logits, jnp.asarray(z, logits.dtype))
        case dist.BernoulliProbs():
            p = _real(q.probs)
            return jnp.where(z == 1, log_of(p), _log1m(p))
        case dist.BinomialLogits():
            logits = _real(q.logits)
            k, n = jnp.asarray(z, logits.dtype), jnp.asarray(q.total_count, logits.dtype)
            log_one, log_zero = -jax.nn.softplus(-logits), -jax.nn.softplus(logits)
            return _log_choose(n, k) + times(k, log_one) + times(n - k, log_zero)
        case dist.BinomialProbs():
            p = _real(q.probs)
            k, n = jnp.asarray(z, p.dtype), jnp.asarray(q.total_count, p.dtype)
            return _log_choose(n, k) + times(k, log_of(p)) + times(n - k, _log1m(p))
        case dist.CategoricalLogits():
            return _at(jax.nn.log_softmax(_real(q.logits)), z)
        case dist.CategoricalProbs():
            return log_of(_at(_real(q.probs), z))
        case dist.MultinomialLogits():
            logits = _real(q.logits)
            k = jnp.asarray(z, logits.dtype)
            return _log_arrangements(k) + one_hot_log_mass(logits, k)
        case dist.GeometricLogits():
            logits = _real(q.logits)
            k = jnp.asarray(z, logits.dtype)
            return times(k, -jax.nn.softplus(logits)) - jax.nn.softplus(-logits)
        case dist.GeometricProbs():
            p = _real(q.probs)
            return times(jnp.asarray(z, p.dtype), _log1m(p)) + log_of(p)
        case dist.Poisson():
            rate = _real(q.rate)
            k = jnp.asarray(z, rate.dtype)
            return times(k, log_of(rate)) - rate - gammaln(k + 1)
    return None


def mass_or_none(q: Any, z: Array) -> Array | None:
    """The probability of z as a function of the parameters at 0 and 1, where the logarithm ends."""
    match q:
        case dist.BernoulliProbs():
            p = _real(q.probs)
            return jnp.where(z == 1, p, 1 - p)
        case dist.BinomialProbs():
            p = _real(q.probs)
            k, n = jnp.asarray(z, p.dtype), jnp.asarray(q.total_count, p.dtype)
            end = (p == 0) | (p == 1)
            p_inner = jnp.where(end, 0.5, p)
            inner = _log_choose(n, k) + k * jnp.log(p_inner) + (n - k) * jnp.log1p(-p_inner)
            return jnp.where(end, _binomial_at_the_ends(p, n, k), jnp.exp(inner))
        case dist.CategoricalProbs():
            return _at(_real(q.probs), z)
    return None


def _binomial_at_the_ends(p: Array, n: Array, k: Array) -> Array:
    """With its first two derivatives; a power of 0 has none."""
    none = p == 0
    r, j = jnp.where(none, p, 1 - p), jnp.where(none, k, n - k)
    pairs = n * (n - 1) / 2 * r * r
    few = jnp.where(j == 1, n * r - 2 * pairs, jnp.where(j == 2, pairs, 0))
    return jnp.where(j == 0, 1 - n * r + pairs, few)


def _real(parameter: Any) -> Array:
    return jnp.asarray(parameter, jnp.result_type(parameter, float))


def log_of(p: Any) -> Array:
    """With slope 0 at 0: what cannot be drawn is not moved."""
    p = _real(p)
    return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1)), -jnp.inf)


def _log1m(p: Array) -> Array:
    return jnp.where(p < 1, jnp.log1p(-jnp.where(p < 1, p, 0)), -jnp.inf)


def _log_choose(n: Array, k: Array) -> Array:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _log_arrangements(k: Array) -> Array:
    return gammaln(jnp.sum(k, axis=-1) + 1) - jnp.sum(gammaln(k + 1), axis=-1)


def _at(table: Array, z: Array) -> Array:
    places = jnp.asarray(z).astype(jnp.int32)[..., None]
    batch = jnp.broadcast_shapes(table.shape[:-1], places.shape[:-1])
    table = jnp.broadcast_to(table, (*batch, table.shape[-1]))
    places = jnp.broadcast_to(places, (*batch, 1))
    return jnp.take_along_axis(table, places, axis=-1)[..., 0]
