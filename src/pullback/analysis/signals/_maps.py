"""From one layer to the next, of numbers: `theory` has an activation and its kinks."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._gaussian_means import TINY, mean, pair_mean, plain_pair_mean

Scalar = Float[Array, ""]

# From here on an activation is as good as its limit at infinity, and its square still a number.
LARGEST = 1e12


def second_moment(theory: Any, q: Scalar, order: int = 0) -> Scalar:
    """The mean square of the activation, or of a derivative of it; at infinity its limit."""
    f = theory.activation
    for _ in range(order):
        f = jax.grad(f)
    return mean(lambda u: jnp.square(f(u)), jnp.minimum(q, LARGEST), theory.kinks)


def variance(theory: Any, q: Scalar, weight_scale: Scalar, bias_scale: Scalar) -> Scalar:
    """V(q)."""
    return jnp.square(weight_scale) * second_moment(theory, q) + jnp.square(bias_scale)


def correlation(
    theory: Any, c: Scalar, q: Scalar, weight_scale: Scalar, bias_scale: Scalar
) -> Scalar:
    """C(c), which is exactly 1 at 1, with the slope that it has there."""
    q = jnp.minimum(q, LARGEST)
    scales = relative(weight_scale, bias_scale)
    w, b = (jnp.square(scale) for scale in scales)
    shared = w * pair_mean(theory.activation, q, q, c, kinks=theory.kinks) + b
    found = shared / variance(theory, q, *scales)
    at_one = 1 + (found - jax.lax.stop_gradient(found))
    # A value past the end by rounding keeps its slope.
    over = found - jax.lax.stop_gradient(found - jnp.clip(found, -1, 1))
    return jnp.where(c >= 1, at_one, over)


def correlation_slope(
    theory: Any, c: Scalar, q: Scalar, weight_scale: Scalar, bias_scale: Scalar
) -> Scalar:
    """C'(c), by Price's theorem."""
    q = jnp.minimum(q, LARGEST)
    slopes = plain_pair_mean(jax.grad(theory.activation), q, q, c, kinks=theory.kinks)
    return slopes * _gain(theory, q, weight_scale, bias_scale)


def slope_at_one(theory: Any, q: Scalar, weight_scale: Scalar, bias_scale: Scalar) -> Scalar:
    """C'(1), which is chi_1 where the variance does not change."""
    q = jnp.minimum(q, LARGEST)
    return second_moment(theory, q, 1) * _gain(theory, q, weight_scale, bias_scale)


def _gain(theory: Any, q: Scalar, weight_scale: Scalar, bias_scale: Scalar) -> Scalar:
    scales = relative(weight_scale, bias_scale)
    # As a mean does, which adds to a variance of 0.
    return jnp.square(scales[0]) * (q + TINY) / variance(theory, q, *scales)


def relative(weight_scale: Scalar, bias_scale: Scalar) -> tuple[Scalar, Scalar]:
    """Both over the larger one: in a quotient it goes out, and squares of small ones are 0."""
    larger = jax.lax.stop_gradient(jnp.maximum(weight_scale, bias_scale))
    return weight_scale / larger, bias_scale / larger


def stretch(theory: Any, q: Scalar, weight_scale: Scalar, bias_scale: Scalar) -> Scalar:
    """chi_1."""
    del bias_scale
    return jnp.square(weight_scale) * second_moment(theory, q, 1)


def bend(theory: Any, q: Scalar, weight_scale: Scalar, bias_scale: Scalar) -> Scalar:
    """chi_2."""
    del bias_scale
    if theory.is_kinked:
        return jnp.full_like(q, jnp.inf)
    return jnp.square(weight_scale) * second_moment(theory, q, 2)


def path(
    theory: Any, c: Scalar, q: Scalar, weight_scale: Scalar, bias_scale: Scalar, depth: int
) -> tuple[Array, Array]:
    """Variance and correlation in each layer, of one loop: it compiles as fast at any depth."""

    def layer(at: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple]:
        q, c = at
        after = variance(theory, q, weight_scale, bias_scale)
        return (after, correlation(theory, c, q, weight_scale, bias_scale)), at

    # A variance past the largest that is computed with has grown without bound.
    limit = lambda q: jnp.where(q >= LARGEST, jnp.inf, q)
    _, (q, c) = jax.lax.scan(layer, (q, c), None, length=depth)
    return limit(q), c
