"""Divergences of two families in closed form: the second sees the first by a few moments."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import digamma, erf, gammaln, polygamma
from jaxtyping import Array

Form = Callable[[Any], Array]


class _Moments(NamedTuple):
    """What is known of a family: its entropy, and moments of z and of log z."""

    entropy: Form
    mean: Form
    variance: Form
    log_mean: Form | None = None
    log_variance: Form | None = None


def across(q: Any, p: Any) -> Array | None:
    """$-H(q) - E_q[log p]$ of two families, elementwise; None where it has no closed form."""
    if isinstance(q, dist.Normal) and isinstance(p, dist.Laplace):
        return _normal_in_laplace(q, p)
    if isinstance(p, dist.Uniform):
        return _in_uniform(q, p)
    moments = next((each for kind, each in _FAMILIES if isinstance(q, kind)), None)
    if moments is None:
        return None
    if isinstance(p, dist.Normal):
        cross = _cross_normal(p, moments.mean(q), moments.variance(q))
    elif moments.log_mean is None or moments.log_variance is None:
        return None
    elif isinstance(p, dist.LogNormal):
        centre = moments.log_mean(q)
        cross = centre + _cross_normal(p, centre, moments.log_variance(q))
    elif isinstance(p, dist.Gamma | dist.Exponential):
        a, b = shape_and_rate(p)
        cross = gammaln(a) - a * jnp.log(b) - (a - 1) * moments.log_mean(q) + b * moments.mean(q)
    else:
        return None
    return cross - moments.entropy(q)


def shape_and_rate(q: Any) -> tuple[Array, Array]:
    """Of a gamma distribution, and of an exponential one as one."""
    rate = jnp.asarray(q.rate)
    if isinstance(q, dist.Exponential):
        return jnp.ones_like(rate), rate
    return jnp.asarray(q.concentration), rate


def _cross_normal(p: Any, mean: Array, variance: Array) -> Array:
    scale = jnp.asarray(p.scale)
    squares = (variance + jnp.square(mean - p.loc)) / jnp.square(scale)
    return jnp.log(scale) + 0.5 * (np.log(2 * np.pi) + squares)


def _normal_in_laplace(q: Any, p: Any) -> Array:
    apart, s, r = jnp.asarray(q.loc - p.loc), jnp.asarray(q.scale), jnp.asarray(p.scale)
    ratio = apart / s
    far = s * np.sqrt(2 / np.pi) * jnp.exp(-jnp.square(ratio) / 2) + apart * erf(ratio / np.sqrt(2))
    return jnp.log(2 * r) + far / r - _normal_entropy(q)


def _in_uniform(q: Any, p: Any) -> Array | None:
    if not isinstance(q, dist.Beta):
        return None
    inside = (p.low <= 0) & (p.high >= 1)
    return jnp.where(inside, jnp.log(p.high - p.low) - _beta_entropy(q), jnp.inf)


def _normal_entropy(q: Any) -> Array:
    return jnp.log(jnp.asarray(q.scale)) + 0.5 * np.log(2 * np.pi * np.e)


def _beta_entropy(q: Any) -> Array:
    a, b = jnp.asarray(q.concentration1), jnp.asarray(q.concentration0)
    log_beta = gammaln(a) + gammaln(b) - gammaln(a + b)
    each = (a - 1) * digamma(a) + (b - 1) * digamma(b)
    return log_beta - each + (a + b - 2) * digamma(a + b)


def _gamma_entropy(q: Any) -> Array:
    a, b = shape_and_rate(q)
    return a - jnp.log(b) + gammaln(a) + (1 - a) * digamma(a)


def _gamma(form: Callable[[Array, Array], Array]) -> Form:
    return lambda q: form(*shape_and_rate(q))


def _scaled(form: Callable[[Array], Array]) -> Form:
    return lambda q: form(jnp.asarray(q.scale))


_LOG_HALF = -(np.euler_gamma + np.log(2)) / 2  # of the size of a standard normal

_FAMILIES: list[tuple[Any, _Moments]] = [
    (dist.Laplace, _Moments(
        _scaled(lambda s: 1 + jnp.log(2 * s)), lambda q: jnp.asarray(q.loc),
        _scaled(lambda s: 2 * jnp.square(s)),
    )),
    (dist.Uniform, _Moments(
        lambda q: jnp.log(jnp.asarray(q.high - q.low)), lambda q: jnp.asarray(q.high + q.low) / 2,
        lambda q: jnp.square(q.high - q.low) / 12,
    )),
    (dist.Gamma | dist.Exponential, _Moments(
        _gamma_entropy, _gamma(lambda a, b: a / b), _gamma(lambda a, b: a / jnp.square(b)),
        _gamma(lambda a, b: digamma(a) - jnp.log(b)),
        _gamma(lambda a, b: polygamma(1, a) + jnp.zeros_like(b)),
    )),
    (dist.LogNormal, _Moments(
        lambda q: q.loc + _normal_entropy(q), lambda q: jnp.exp(q.loc + jnp.square(q.scale) / 2),
        lambda q: jnp.expm1(jnp.square(q.scale)) * jnp.exp(2 * q.loc + jnp.square(q.scale)),
        lambda q: jnp.asarray(q.loc), _scaled(jnp.square),
    )),
    (dist.HalfNormal, _Moments(
        _scaled(lambda s: jnp.log(s) + 0.5 * np.log(np.pi * np.e / 2)),
        _scaled(lambda s: s * np.sqrt(2 / np.pi)),
        _scaled(lambda s: jnp.square(s) * (1 - 2 / np.pi)),
        _scaled(lambda s: jnp.log(s) + _LOG_HALF),
        _scaled(lambda s: jnp.full_like(s, np.pi**2 / 8)),
    )),
]  # fmt: skip
