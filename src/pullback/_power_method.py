"""The power method, for the largest singular value and for other norms of a matrix."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def unit(x: Float[Array, "*shape"], otherwise: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x` at length 1, or `otherwise` for a zero `x`."""
    scale = jnp.max(jnp.abs(x))
    some = scale > 0
    # Of a zero `x` no norm is taken, whose derivative there would be none.
    scaled = jnp.where(some, x / jnp.where(some, scale, 1), 1)
    return jnp.where(some, scaled / jnp.sqrt(jnp.sum(scaled * scaled)), otherwise)


def safe_norm(x: Float[Array, "*shape"]) -> Float[Array, ""]:
    """The Euclidean norm at any scale, whose gradient at zero is zero."""
    scale = size_of(x)
    x = x / scale
    square = jnp.sum(x * x)
    return scale * jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def row_norms(rows: Float[Array, "n ..."]) -> Float[Array, " n"]:
    """The Euclidean norm of each row, at any scale that they share; its gradient at zero is zero.

    NaN stays NaN.
    """
    size = size_of(rows)
    square = jnp.sum(jnp.square(rows / size), axis=tuple(range(1, rows.ndim)))
    none = square == 0
    return size * jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, square)))


def size_of(x: Float[Array, "..."]) -> Float[Array, ""]:
    """A power of two near the largest entry, without a gradient; 1 for a zero `x`.

    What is divided by it loses no digit, and squares of what is left are numbers.
    """
    info = jnp.finfo(x.dtype)
    # A power of two whose reciprocal is a normal number, for XLA divides by multiplying with it.
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(x)))
    within = jnp.clip(largest, 4 * info.tiny, 1 / info.tiny / 4)
    power = jax.lax.reduce_precision(within, info.bits - info.nmant - 1, 0)
    return jnp.where(largest > 0, power, jnp.ones_like(power))


def divided(x: Float[Array, "*shape"], by: Float[Array, ""]) -> Float[Array, "*shape"]:
    """`x / by`, in two steps: the derivative of a quotient has the square of what is divided by."""
    size = size_of(by)
    return x / size / (by / size)


def singular_vector(
    push: Callable[[Any], Any],
    start: Float[Array, "*shape"],
    *,
    rtol: float,
    max_steps: int,
    least: int = 1,
) -> Float[Array, "*shape"]:
    r"""The right singular vector of a linear map, by $v \leftarrow A^\top A v / |A^\top A v|$."""
    pull = jax.linear_transpose(push, start)
    return settle(turn_of(push, pull), start, rtol=rtol, max_steps=max_steps, least=least)


def turn_of(push: Callable[[Any], Any], pull: Callable[[Any], Any]) -> Callable[[Any], Any]:
    r"""$v \mapsto A^\top A v$, but for its length: between the two it is brought near 1."""

    def turn(v: Array) -> Array:
        pushed = push(v)
        return pull(pushed / size_of(pushed))[0]

    return turn


def settle(
    turn: Callable[[Any], Any],
    start: Float[Array, "*shape"],
    *,
    rtol: float,
    max_steps: int | Int[Array, ""],
    least: int = 1,
) -> Float[Array, "*shape"]:
    """Turn a vector again and again, until a turn is one of less than `rtol` and of no more.

    What settles is the direction and not the norm that it stands for: where the largest singular
    values lie close together the norm creeps, and a test of its change would end too soon. Turns
    that grow are those of a vector that lies nearly across the largest direction and is on its way
    to it. They are seen from the second turn on: where a start may lie so, `least` is 2.
    """
    rounding = 8 * float(jnp.finfo(start.dtype).eps)

    def once(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        v, change, _, count = carry
        new = unit(turn(v), v)
        return new, jnp.sqrt(jnp.sum(jnp.square(new - v))), change, count + 1

    def going(carry: tuple[Array, ...]) -> Array:
        _, change, before, count = carry
        grows = (change > before) & (change > rounding)
        return ((change > rtol) | grows | (count < least)) & (count < max_steps)

    far = jnp.full((), jnp.inf, start.dtype)
    begin = (unit(start, start), far, far, jnp.zeros((), int))
    return jax.lax.while_loop(going, once, begin)[0]


Order = float | Float[Array, ""]


def mixed_turn(
    matrix: Float[Array, "out in"], v: Float[Array, " in"], p: Order, q: Order
) -> Float[Array, " in"]:
    r"""One step of the power method for $\|W\|_{p \to q}$, but for its length; p > 1, finite q."""
    u = _signed_power(matrix @ v, q - 1)
    return _signed_power(matrix.T @ u, 1 / (p - 1))


def vector_norm(x: Float[Array, " dim"], p: Order) -> Float[Array, ""]:
    """The p-norm, with a gradient for `x` and for p wherever entries are zero."""
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(x)))
    scale = jnp.where(scale > 0, scale, 1)
    if isinstance(p, float) and math.isinf(p):
        return jnp.max(jnp.abs(x))
    size = jnp.abs(x / scale)
    powers = jnp.where(size > 0, jnp.exp(p * jnp.log(jnp.where(size > 0, size, 1))), 0)
    total = jnp.sum(powers)
    some = jnp.where(total > 0, total, 1)
    return jnp.where(total > 0, scale * jnp.exp(jnp.log(some) / p), 0)


def stretch(
    matrix: Float[Array, "out in"], v: Float[Array, " in"], p: Order, q: Order
) -> Float[Array, ""]:
    r"""$\|W v\|_q / \|v\|_p$."""
    return vector_norm(matrix @ v, q) / vector_norm(v, p)


def _signed_power(x: Array, exponent: Order) -> Array:
    size = jnp.abs(x)
    largest = jnp.max(size)
    scaled = size / jnp.where(largest > 0, largest, 1)
    return jnp.sign(x) * jnp.where(scaled > 0, scaled, 1) ** exponent
