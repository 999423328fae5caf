"""Divergences in closed form, elementwise, of the pairs that NumPyro lacks and those it has."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import digamma, gammaln, i0e, i1e, xlogy
from jaxtyping import Array, Float

from pullback._promotion import standard_promotion
from pullback.sampling import log_prob_of_parts, require_inside

from ._moment_forms import across, shape_and_rate

Pair = Callable[[Any, Any], Array]


def continuous_kl(q: Any, p: Any) -> Float[Array, ""] | None:
    """Of all variables together, over the common batch shape; None where no form is known."""
    parts_q, shape_q = _parts(q)
    parts_p, shape_p = _parts(p)
    with standard_promotion():
        found = _of(parts_q, parts_p)
        if found is None:
            # A pair that is known as it stands, such as independent normals against one whose
            # covariance is circulant.
            found, shape_q, shape_p = _gaussian_or_numpyro(q, p), (), ()
        if found is None:
            return None if _held(parts_q, parts_p) else jnp.asarray(jnp.inf)
        shape = jnp.broadcast_shapes(found.shape, shape_q, shape_p)
        return jnp.sum(jnp.broadcast_to(found, shape))


def pair_name(q: Any, p: Any) -> str:
    """For a message: the two distributions of each variable."""
    return f"KL({' || '.join(type(_parts(each)[0]).__name__ for each in (q, p))})"


def _parts(q: Any) -> tuple[Any, tuple[int, ...]]:
    """The distribution of each variable, and the shape that `expand` has given to them."""
    layers = []
    while isinstance(q, dist.Independent | dist.ExpandedDistribution):
        layers.append(q)
        q = q.base_dist
    shape = ()
    for layer in layers:
        if isinstance(layer, dist.ExpandedDistribution):
            own = len(layer.event_shape) - len(q.event_shape)
            shape = jnp.broadcast_shapes(shape, layer.batch_shape + layer.event_shape[:own])
    return q, shape


def _of(q: Any, p: Any) -> Array | None:
    if isinstance(q, dist.Delta):
        density: Any = q.log_density
        return density - log_prob_of_parts(p, q.v)
    for kinds, formula in _FORMULAS:
        if isinstance(q, kinds) and isinstance(p, kinds):
            return formula(q, p)
    found = across(q, p)
    return _numpyro(q, p) if found is None else found


def _held(q: Any, p: Any) -> bool:
    """Whether q is not known to draw what p has not."""
    try:
        require_inside(q, p)
    except ValueError:
        return False
    return True


def _numpyro(q: Any, p: Any) -> Array | None:
    try:
        return jnp.asarray(dist.kl_divergence(q, p))
    except NotImplementedError:
        return None


def _gaussian_or_numpyro(q: Any, p: Any) -> Array | None:
    one, other = _gaussian(q), _gaussian(p)
    if one is None or other is None:
        return _numpyro(q, p)
    return _gaussian_kl(*one, *other)


def _gaussian(q: Any) -> tuple[Any, Any] | None:
    """Mean and a root of the covariance of a normal over vectors."""
    match q:
        case dist.MultivariateNormal():
            return q.loc, q.scale_tril
        case dist.LowRankMultivariateNormal():
            return q.loc, jnp.linalg.cholesky(q.covariance_matrix)
        case dist.Independent(base_dist=dist.Normal()) if q.reinterpreted_batch_ndims == 1:
            base: Any = q.base_dist
            loc, scale = jnp.broadcast_arrays(base.loc, base.scale)
            return loc, scale[..., None] * jnp.eye(loc.shape[-1], dtype=loc.dtype)
    return None


def _gaussian_kl(mean: Array, root: Array, other_mean: Array, other_root: Array) -> Array:
    size = mean.shape[-1]
    batch = jnp.broadcast_shapes(mean.shape[:-1], other_mean.shape[:-1], root.shape[:-2],
                                 other_root.shape[:-2])  # fmt: skip
    root, other_root = (jnp.broadcast_to(each, (*batch, size, size)) for each in (root, other_root))
    apart = jnp.broadcast_to(mean - other_mean, (*batch, size))[..., None]
    both = solve_triangular(other_root, jnp.concatenate([root, apart], axis=-1), lower=True)
    logs = lambda root: jnp.sum(jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)), axis=-1)
    return (jnp.sum(jnp.square(both), axis=(-2, -1)) - size) / 2 + logs(other_root) - logs(root)


def _location_scale(formula: Callable[[Array, Array, Array], Array]) -> Pair:
    """Of what depends on the distance of the locations and on the two scales alone."""
    return lambda q, p: formula(
        jnp.asarray(q.loc - p.loc), jnp.asarray(q.scale), jnp.asarray(p.scale)
    )


def _normal(apart: Array, s: Array, r: Array) -> Array:
    return (jnp.square(s / r) + jnp.square(apart / r) - 1) / 2 - jnp.log(s / r)


def _laplace(apart: Array, s: Array, r: Array) -> Array:
    # By `where`, whose slope is one at 0: with `abs` the second derivative would be 0 there.
    far = jnp.where(apart < 0, -apart, apart)
    return jnp.log(r / s) + (far + s * jnp.exp(-far / s)) / r - 1


def _cauchy(apart: Array, s: Array, r: Array) -> Array:
    return jnp.log((jnp.square(s + r) + jnp.square(apart)) / (4 * s * r))


def _exponential(q: Any, p: Any) -> Array:
    return jnp.log(q.rate / p.rate) + p.rate / q.rate - 1


def _half_normal(q: Any, p: Any) -> Array:
    return _normal(jnp.zeros(()), jnp.asarray(q.scale), jnp.asarray(p.scale))


def _half_cauchy(q: Any, p: Any) -> Array:
    return _cauchy(jnp.zeros(()), jnp.asarray(q.scale), jnp.asarray(p.scale))


def _poisson(q: Any, p: Any) -> Array:
    return jnp.asarray(xlogy(q.rate, q.rate) - xlogy(q.rate, p.rate) - q.rate + p.rate)


def _geometric(q: Any, p: Any) -> Array:
    """Of failures before a success: their mean is (1 - p) / p, and 0 where p is 1."""
    (log_s, log_f), (other_s, other_f) = _log_odds(q), _log_odds(p)
    mean = jnp.exp(log_f - log_s)
    apart = jnp.where(mean == 0, 0, log_f - other_f)
    return log_s - other_s + mean * apart


def _log_odds(q: Any) -> tuple[Array, Array]:
    """The logarithms of the probabilities of a success and of a failure."""
    if isinstance(q, dist.GeometricLogits):
        logits: Any = q.logits
        return -jax.nn.softplus(-logits), -jax.nn.softplus(logits)
    p = jnp.asarray(q.probs)
    return jnp.log(p), jnp.log1p(-p)


def _gamma(q: Any, p: Any) -> Array:
    """Exponential ones too; the inverse of a gamma is as far from another's as the gammas are."""
    (a, b), (alpha, beta) = shape_and_rate(q), shape_and_rate(p)
    logs = gammaln(alpha) - gammaln(a) - alpha * jnp.log(beta / b)
    return (a - alpha) * digamma(a) + logs + a * (beta / b - 1)


def _gumbel(apart: Array, s: Array, r: Array) -> Array:
    tail = jnp.exp(gammaln(s / r + 1) - apart / r)
    return jnp.log(r / s) + np.euler_gamma * (s / r - 1) + apart / r + tail - 1


def _weibull(q: Any, p: Any) -> Array:
    """The logarithm of one is a Gumbel variable, upside down."""
    a, b = jnp.asarray(q.concentration), jnp.asarray(p.concentration)
    return _gumbel(jnp.log(p.scale / q.scale), 1 / a, 1 / b)


def _pareto(q: Any, p: Any) -> Array:
    inside = jnp.log(q.alpha / p.alpha) + p.alpha * jnp.log(q.scale / p.scale)
    return jnp.where(q.scale >= p.scale, inside + p.alpha / q.alpha - 1, jnp.inf)


def _von_mises(q: Any, p: Any) -> Array:
    k, other = jnp.asarray(q.concentration), jnp.asarray(p.concentration)
    length = i1e(k) / i0e(k)
    logs = jnp.log(i0e(other)) + other - jnp.log(i0e(k)) - k
    return logs + length * (k - other * jnp.cos(q.loc - p.loc))


def _uniform(q: Any, p: Any) -> Array:
    inside = (q.low >= p.low) & (q.high <= p.high)
    return jnp.where(inside, jnp.log((p.high - p.low) / (q.high - q.low)), jnp.inf)


_FORMULAS: list[tuple[Any, Pair]] = [
    (dist.Normal, _location_scale(_normal)),
    (dist.LogNormal, _location_scale(_normal)),
    (dist.Laplace, _location_scale(_laplace)),
    (dist.Cauchy, _location_scale(_cauchy)),
    (dist.Gumbel, _location_scale(_gumbel)),
    (dist.Exponential, _exponential),
    (dist.Gamma | dist.Exponential, _gamma),
    (dist.InverseGamma, _gamma),
    (dist.Weibull, _weibull),
    (dist.Pareto, _pareto),
    (dist.VonMises, _von_mises),
    (dist.HalfNormal, _half_normal),
    (dist.HalfCauchy, _half_cauchy),
    (dist.Poisson, _poisson),
    (dist.GeometricLogits | dist.GeometricProbs, _geometric),
    (dist.Uniform, _uniform),
]
