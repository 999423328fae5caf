"""Norms of a matrix that two vector norms induce."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback._power_method import mixed_turn, stretch, unit, vector_norm


def induced_norm(
    matrix: Float[Array, "out in"],
    p: float,
    q: float,
    *,
    restarts: int = 10,
    steps: int = 200,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    r"""The most that a matrix stretches a vector, measured by p before and by q after.

    $$ \|W\|_{p \to q} = \max_{x \ne 0} \frac{\|W x\|_q}{\|x\|_p} $$

    From $p = 1$, and to $q = \infty$, it is a largest column or row and is exact. Otherwise it is
    the best of several runs of a power method, and the exact stretch of a vector that was found:
    never above the norm, and below it where all runs end in a lower maximum. (For $p = \infty$ to
    $q = 1$ the problem is NP-hard.)

    The gradient is that of the best vector's stretch, which is the gradient of the norm.

    Args:
        matrix: W.
        p: order of the norm of the input, in $[1, \infty]$.
        q: order of the norm of the output, in $[1, \infty]$.
        restarts: random vectors to start from.
        steps: of the power method.
        key: for the starts.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> matrix = jnp.array([[1.0, -2.0], [3.0, 4.0]])
        >>> float(induced_norm(matrix, 1.0, 1.0, key=jax.random.key(0)))
        6.0
        >>> float(induced_norm(matrix, float("inf"), float("inf"), key=jax.random.key(0)))
        7.0

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735,
        appendix on induced mixed norms; Higham, Estimating the matrix p-norm, Numerische
        Mathematik 62 (1992).
    """
    key = checked_key(key)
    for name, order in (("p", p), ("q", q)):
        if not order >= 1:
            raise ValueError(f"`{name}` must be 1 or more, got {order}.")
    for name, count in (("restarts", restarts), ("steps", steps)):
        if count < 1:
            raise ValueError(f"`{name}` must be 1 or more, got {count}.")
    p, q = float(p), float(q)
    if p == 1:
        return jnp.max(jax.vmap(lambda column: vector_norm(column, q))(matrix.T))
    if math.isinf(q):
        dual = 1.0 if math.isinf(p) else p / (p - 1)
        return jnp.max(jax.vmap(lambda row: vector_norm(row, dual))(matrix))
    fixed = jax.lax.stop_gradient(matrix)

    def run(start: Array) -> tuple[Array, Array]:
        turn = lambda _, v: unit(mixed_turn(fixed, v, p, q), v)
        v = jax.lax.fori_loop(0, steps, turn, unit(start, start))
        return v, stretch(fixed, v, p, q)

    starts = jr.normal(key, (restarts, matrix.shape[1]), matrix.dtype)
    vectors, found = jax.vmap(run)(starts)
    return stretch(matrix, vectors[jnp.argmax(found)], p, q)
