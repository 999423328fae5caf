"""Points and contexts as rows, and a base that may depend on the context."""

import numbers
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from pullback._checked_data import check_rows
from pullback._promotion import standard_promotion
from pullback.sampling import Distribution, draw, log_prob


def points_in_rows(points: Any, shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """The points one row after another, `[n, *shape]`, and the axes that they came in."""
    points = jnp.asarray(points)
    if jnp.issubdtype(points.dtype, jnp.integer):
        points = points.astype(jnp.result_type(float))
    if not jnp.issubdtype(points.dtype, jnp.floating):
        raise ValueError(f"points must be real numbers, got {points.dtype}.")
    batch = points.ndim - len(shape)
    if batch < 0 or points.shape[batch:] != shape:
        axes = ", ".join(["...", *(str(size) for size in shape)])
        hint = " Take `x[:, None]`." if points.ndim == 1 and shape == (1,) else ""
        raise ValueError(f"points must have shape [{axes}], got {points.shape}.{hint}")
    return points.reshape(-1, *shape), points.shape[:batch]


def with_context(
    points: Any, shape: tuple[int, ...], context: Any, context_shape: tuple[int, ...] | None
) -> tuple[Array, Array | None, tuple[int, ...]]:
    """Points and their contexts, a row of each for each point, and the axes of both together.

    Both have the wider of their dtypes: what is solved or scanned over has one.
    """
    rows, batch = points_in_rows(points, shape)
    context = checked_context(context, context_shape)
    if context is None or context_shape is None:
        return rows, None, batch
    own = context.shape[: context.ndim - len(context_shape)]
    try:
        both = np.broadcast_shapes(batch, own)
    except ValueError as error:
        raise ValueError(
            "the axes of `context` in front of one context must fit those of the points in front "
            f"of one point, got {own} and {batch}."
        ) from error
    with standard_promotion():
        dtype = jnp.promote_types(rows.dtype, context.dtype)
    rows, context = rows.astype(dtype), context.astype(dtype)
    rows = jnp.broadcast_to(rows.reshape(*batch, *shape), (*both, *shape)).reshape(-1, *shape)
    context = jnp.broadcast_to(context, (*both, *context_shape)).reshape(-1, *context_shape)
    return rows, context, both


def checked_context(context: Any, shape: tuple[int, ...] | None) -> Array | None:
    """Contexts `[..., *shape]`, of a flow that takes such; None of one that takes none."""
    if shape is None:
        if context is not None:
            raise ValueError(
                "`context` was given, and this flow is of no context: make one that is, by "
                "`context=` of `residual_flow` or `cnf`, or `context_shape=` of the class."
            )
        return None
    axes = ", ".join(["...", *(str(size) for size in shape)])
    if context is None:
        raise ValueError(f"`context` of shape [{axes}] is missing: this flow depends on it.")
    context = jnp.asarray(context)
    if not jnp.issubdtype(context.dtype, jnp.floating):
        raise ValueError(
            f"`context` must be floating, got {context.dtype}: of classes, `jax.nn.one_hot(labels, "
            "classes)`."
        )
    if context.ndim < len(shape) or context.shape[context.ndim - len(shape) :] != shape:
        raise ValueError(f"`context` must have shape [{axes}], got {context.shape}.")
    return context


def name_what_is_not_finite(
    points: Any, shape: tuple[int, ...], context: Any, context_shape: tuple[int, ...] | None
) -> None:
    """Raise ValueError for a context or a point that is not finite, by its row.

    It is asked by whoever has seen a solve fail, for such rows fail and say nothing of themselves.
    """
    # The context first: a base that depends on it draws what is not finite either.
    if context is not None and context_shape is not None:
        check_rows(np.reshape(context, (-1, *context_shape)), name="context")
    check_rows(np.reshape(points, (-1, *shape)), name="points")


def shape_of_context(shape: int | tuple[int, ...] | None) -> tuple[int, ...] | None:
    """A number d is the shape `[d]`; None, of what has no context, stays."""
    if shape is None:
        return None
    return sizes_of("context_shape", shape)


def sizes_of(name: str, shape: Any) -> tuple[int, ...]:
    """A shape, or a number d, which is the shape `[d]`."""
    sizes = tuple(shape) if isinstance(shape, list | tuple) else (shape,)
    if any(isinstance(size, bool) or not isinstance(size, numbers.Integral) for size in sizes):
        raise TypeError(f"`{name}` must be a whole number or a tuple of them, got {shape!r}.")
    if any(size < 1 for size in sizes):
        raise ValueError(f"`{name}` must be of sizes of 1 or more, got {sizes}.")
    return tuple(int(size) for size in sizes)


def event_of(base: Any, context: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one draw of a base."""
    return _one_draw(base, context).shape


def require_base(base: Any, context: tuple[int, ...] | None) -> None:
    """Refuse what cannot be the base of a flow of contexts of such a shape.

    Raises:
        TypeError: it is no distribution, nor, where there is a context, a function from one to one.
        ValueError: it is many distributions, where one of all entries is needed.
    """
    known = isinstance(base, Distribution)
    if known and context is None and getattr(base, "context_shape", None) is not None:
        raise TypeError(
            "`base` is a flow that depends on a context: give this one the same `context_shape`."
        )
    if not known and (context is None or not callable(base)):
        more = "" if context is None else ", or be a function from one context to such"
        raise TypeError(
            "`base` must have `log_prob(x)` and `sample(key, shape)`, as StandardNormal has"
            f"{more}; got {type(base).__name__}."
        )
    if _is_flow(base):
        return

    at: Any = (lambda context: base) if known else base

    def density(key: Array, context: Any) -> Array:
        found = at(context)
        if not isinstance(found, Distribution):
            raise TypeError(
                "`base` must return something with `log_prob(x)` and `sample(key, shape)`, got "
                f"{type(found).__name__}."
            )
        return jnp.asarray(found.log_prob(draw(found, key)))

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        shape = eqx.filter_eval_shape(density, jr.key(0), _zeros(context)).shape
    if shape != ():
        raise ValueError(
            f"`base` must be one distribution of a whole point, and it is {list(shape)} of them, "
            f"of parts of it: take `base.to_event({len(shape)})`."
        )


def takes_context(base: Any) -> bool:
    """Whether a base depends on the context."""
    if _is_flow(base):
        return base.context_shape is not None
    return not isinstance(base, Distribution)


def base_log_prob(base: Any, z: Array, context: Any, batch: tuple[int, ...]) -> Array:
    """Of points `[*batch, *event]`, with a row of contexts for each, or None."""
    if context is None:
        return base.log_prob(z)
    rows = z.reshape(-1, *z.shape[len(batch) :])
    if not takes_context(base):
        return base.log_prob(z)
    if _is_flow(base):
        return base.log_prob(rows, context=context).reshape(batch)
    return jax.vmap(lambda z, c: log_prob(base(c), z))(rows, context).reshape(batch)


def base_sample(base: Any, key: Any, shape: tuple[int, ...], context: Any, axes: int) -> Array:
    """Draws `[*shape, *batch, *event]`, where contexts are `[*batch, ...]`, with so many axes."""
    if context is None:
        return draw(base, key, shape)
    batch = context.shape[: context.ndim - axes]
    if not takes_context(base):
        return draw(base, key, (*shape, *batch))
    if _is_flow(base):
        return base.sample(key, shape, context=context)
    own = context.shape[len(batch) :]
    rows = jnp.broadcast_to(context, (*shape, *context.shape)).reshape(-1, *own)
    drawn = jax.vmap(lambda key, c: draw(base(c), key))(jr.split(key, len(rows)), rows)
    return drawn.reshape(*shape, *batch, *drawn.shape[1:])


def _one_draw(base: Any, context: tuple[int, ...] | None) -> Any:
    def one(key: Array, context: Any) -> Array:
        if not takes_context(base):
            return draw(base, key)
        return base.sample(key, context=context) if _is_flow(base) else draw(base(context), key)

    with jax.numpy_dtype_promotion("standard"):
        return eqx.filter_eval_shape(one, jr.key(0), _zeros(context))


def _zeros(context: tuple[int, ...] | None) -> Any:
    return None if context is None else jnp.zeros(context)


def _is_flow(base: Any) -> bool:
    return hasattr(base, "context_shape")
