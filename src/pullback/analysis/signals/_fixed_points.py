"""Where variance and correlation come to, of numbers: roots that Optimistix finds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from . import _maps as maps

Scalar = Float[Array, ""]

# Variances that are looked at first, in steps of a third; 1 is one of them.
_RUNGS = np.logspace(-16, 12, 225)
_START = 128


def variance(theory: Any, weight_scale: Scalar, bias_scale: Scalar) -> Scalar:
    r"""q*, the limit of $q \leftarrow V(q)$ from 1.

    From there a variance only grows, or only falls, up to the first fixed point on its way. Which
    that is between is seen on a ladder of variances, whose means do not depend on the scales; the
    root between two rungs is Newton's.
    """
    dtype = weight_scale.dtype
    ladder = jnp.asarray(_RUNGS, dtype)
    moments = jax.vmap(lambda q: maps.second_moment(theory, q))(ladder)
    moved = (jnp.square(weight_scale) * moments + jnp.square(bias_scale)) / ladder - 1
    slack = max(64 * float(jnp.finfo(dtype).eps), 1e-12)  # what a mean is off by
    grows, falls = moved > slack, moved < -slack
    place = jnp.arange(len(_RUNGS))
    last = len(_RUNGS) - 1
    ends = jnp.min(jnp.where((place > _START) & falls, place, last + 1))
    starts = jnp.max(jnp.where((place < _START) & grows, place, -1))
    low = jnp.where(grows[_START], ends - 1, starts)
    is_inside = (grows[_START] & (ends <= last)) | (falls[_START] & (starts >= 0))
    low, high = (jnp.log(ladder[jnp.clip(at, 0, last)]) for at in (low, low + 1))

    def excess(log_q: Scalar, scales: tuple[Scalar, Scalar]) -> Scalar:
        return jnp.log(maps.variance(theory, jnp.exp(log_q), *scales)) - log_q

    log_q = _root(excess, low, high, is_inside, (low + high) / 2, (weight_scale, bias_scale))
    outside = jnp.where(grows[_START], jnp.inf, jnp.where(falls[_START], 0.0, 1.0))
    return jnp.where(is_inside, jnp.exp(log_q), outside.astype(dtype))


def correlation(theory: Any, weight_scale: Scalar, bias_scale: Scalar) -> tuple[Scalar, Scalar]:
    r"""q* and c*, which is 1 where C has a slope of 1 or less there, else where Newton's steps end.

    C is a power series in c with no negative term, and so convex: the steps, from 0, stay below c*.
    """
    q = variance(theory, weight_scale, bias_scale)
    return q, _correlation(theory, q, weight_scale, bias_scale)


def _correlation(theory: Any, q: Scalar, weight_scale: Scalar, bias_scale: Scalar) -> Scalar:
    slope = maps.slope_at_one(theory, q, weight_scale, bias_scale)
    parts = slope > 1 + _tolerance(slope.dtype)
    excess = lambda c, given: maps.correlation(theory, c, *given) - c
    zero = jnp.zeros_like(slope)
    c = _root(excess, zero, zero + 1, parts, zero, (q, weight_scale, bias_scale))
    return jnp.where(parts, c, 1)


def at_rest(theory: Any, weight_scale: Scalar, bias_scale: Scalar) -> tuple[Scalar, ...]:
    """q*, chi_1, and layers over which variance, correlation and gradients change by e."""
    given = (weight_scale, bias_scale)
    q = variance(theory, *given)
    at = jnp.minimum(q, maps.LARGEST)
    _, of_q = jax.jvp(lambda q: maps.variance(theory, q, *given), (at,), (jnp.ones_like(q),))
    of_c = maps.correlation_slope(theory, _correlation(theory, q, *given), q, *given)
    chi = maps.stretch(theory, q, *given)
    return q, chi, _layers(of_q), _layers(of_c), _layers(jnp.minimum(chi, 1 / chi))


def critical_weight_scale(theory: Any, bias_scale: Scalar) -> tuple[Scalar, Scalar]:
    """The variance for which the bias scale at which chi_1 is 1 is the given one, and the scale."""
    dtype = bias_scale.dtype
    ladder = jnp.asarray(_RUNGS, dtype)

    def on_line(q: Scalar) -> tuple[Scalar, Scalar]:
        values, slopes = (maps.second_moment(theory, q, order) for order in (0, 1))
        return q - values / slopes, 1 / jnp.sqrt(slopes)

    squared = jnp.square(bias_scale)
    biases, _ = jax.vmap(on_line)(ladder)
    # At a bias scale of 0 the difference of two small variances is all rounding.
    is_reached = biases >= squared - 64 * float(jnp.finfo(dtype).eps) * ladder
    place = jnp.argmax(is_reached)
    is_inside = is_reached[place] & (place > 0)
    low, high = (jnp.log(ladder[jnp.clip(at, 0)]) for at in (place - 1, place))
    size = jnp.maximum(jnp.abs(biases[place]), float(jnp.finfo(dtype).tiny))
    excess = lambda log_q, squared: (on_line(jnp.exp(log_q))[0] - squared) / size
    log_q = _root(excess, low, high, is_inside, (low + high) / 2, squared)
    outside = jnp.where(is_reached[place], 0.0, maps.LARGEST).astype(dtype)
    q = jnp.where(is_inside, jnp.exp(log_q), outside)
    return q, on_line(q)[1]


def _layers(slope: Scalar) -> Scalar:
    slope = jnp.abs(slope)
    falls = slope < 1 - float(jnp.finfo(slope.dtype).eps) ** 0.6  # what a mean of two is off by
    return jnp.where(falls, -1 / jnp.log(jnp.where(falls, slope, 0.5)), jnp.inf)


def _tolerance(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps) ** 0.7


def _root(
    function: Callable[[Any, Any], Any], low: Scalar, high: Scalar, is_there: Array, start: Scalar,
    args: Any,
) -> Scalar:  # fmt: skip
    """A root between two bounds; `start` where there is none."""
    line = lambda y, args: jnp.where(args[1], function(y, args[0]), y - start)
    tolerance = _tolerance(low.dtype)
    found = optx.root_find(
        line, optx.Newton(rtol=tolerance, atol=tolerance), start, (args, is_there),
        options={"lower": low, "upper": high}, max_steps=100, throw=False,
    )  # fmt: skip
    return found.value
