"""The power method for the largest singular value of a linear map."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def unit(x: Float[Array, "*shape"], otherwise: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x` at length 1, or `otherwise` for a zero `x`."""
    scale = jnp.max(jnp.abs(x))
    scaled = x / jnp.where(scale > 0, scale, 1)
    return jnp.where(scale > 0, scaled / safe_norm(scaled), otherwise)


def safe_norm(x: Float[Array, "*shape"]) -> Float[Array, ""]:
    """The Euclidean norm, whose gradient at zero is zero."""
    square = jnp.sum(x * x)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def singular_vector(
    push: Callable[[Any], Any],
    start: Float[Array, "*shape"],
    *,
    rtol: float,
    max_steps: int,
) -> tuple[Float[Array, "*shape"], Int[Array, ""]]:
    r"""The right singular vector of a linear map, and the steps that it took.

    $$ v \leftarrow A^\top A v \,/\, |A^\top A v| $$

    until a step turns the vector by less than `rtol`. What settles is the direction and not the
    value: where the largest singular values lie close together the value creeps, and a test of its
    change would end too soon.
    """
    pull = jax.linear_transpose(push, start)

    def turn(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        v, _, count = carry
        (back,) = pull(push(v))
        new = unit(back, v)
        return new, safe_norm(new - v), count + 1

    def going(carry: tuple[Array, Array, Array]) -> Array:
        _, change, count = carry
        return (change > rtol) & (count < max_steps)

    zero = jnp.zeros((), int)
    v, _, count = jax.lax.while_loop(
        going, turn, (unit(start, start), jnp.full((), jnp.inf, start.dtype), zero)
    )
    return v, count
