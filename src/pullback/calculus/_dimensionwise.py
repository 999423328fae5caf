"""Derivatives of each entry of a field by its own entry of the state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike


def dimensionwise_derivatives(
    f: Callable[[Any, Any, Any], Any],
    t: ScalarLike,
    y: Float[Array, " dim"],
    args: Any = None,
    *,
    order: int = 1,
) -> tuple[Float[Array, " dim"], ...]:
    """A field and its dimension-wise derivatives, `d^k f_i / dy_i^k`, up to an order.

    A field with a method `with_diagonal(t, y, args, order=order)`, such as a hollow net, finds them
    itself. For any other the cost is that of `dim` evaluations with their derivatives, side by
    side.

    Args:
        f: Vector field `f(t, y, args)`, from `[dim]` to `[dim]`.
        t: Time, a scalar.
        y: State, one vector; `jax.vmap` a batch.
        args: Whatever `f` takes as its third argument.
        order: Highest derivative, 1 or more.

    Returns:
        The tuple `(f, df_i/dy_i, ..., d^order f_i / dy_i^order)`, each of shape `[dim]`.

    Raises:
        ValueError: If `order` is below 1, or `f` does not map a vector to one of its size.

    Example:
        >>> import jax.numpy as jnp
        >>> cubes = lambda t, y, args: y**3 + jnp.sum(y)
        >>> value, first, second = dimensionwise_derivatives(
        ...     cubes, 0.0, jnp.array([1.0, 2.0]), order=2
        ... )
        >>> first.tolist(), second.tolist()
        ([4.0, 13.0], [6.0, 12.0])

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 2.
    """
    if order < 1:
        raise ValueError(f"`order` must be 1 or more, the highest derivative; got {order}.")
    if hasattr(f, "with_diagonal"):
        return f.with_diagonal(t, y, args, order=order)
    shape = jax.eval_shape(lambda y: f(t, y, args), y).shape
    if y.ndim != 1 or shape != y.shape:
        raise ValueError(
            "Dimension-wise derivatives need a map of one vector to one of the same size; got `y` "
            f"of shape {y.shape} and `f(t, y, args)` of shape {shape}. For a batch, use `jax.vmap`."
        )

    def along(direction: Array, index: Array) -> tuple[Array, ...]:
        derivative = lambda s: (f(t, y + s * direction, args)[index],)
        for _ in range(order):
            derivative = _one_more(derivative)
        return derivative(jnp.zeros((), y.dtype))

    return jax.vmap(along)(jnp.eye(y.size, dtype=y.dtype), jnp.arange(y.size))


def _one_more(
    derivatives: Callable[[Array], tuple[Array, ...]],
) -> Callable[[Array], tuple[Array, ...]]:
    def extended(s: Array) -> tuple[Array, ...]:
        values, slopes = jax.jvp(derivatives, (s,), (jnp.ones_like(s),))
        return (*values, slopes[-1])

    return extended
