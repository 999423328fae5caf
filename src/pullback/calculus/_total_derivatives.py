"""Derivatives in time of the solution of an ordinary differential equation."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree, ScalarLike

from pullback._names import did_you_mean

from ._taylor import interpret, pad

_METHODS = ("auto", "nested", "taylor")
# Measured by benchmarks/bench_calculus.py (64-128-64 tanh network, batch 32 and 256, 2 CPU cores).
# Values at batch 32: level. Gradients of the last derivative: level at order 2; Taylor mode takes
# 0.65 to 0.95 of the time at 3, 0.6 to 0.75 at 4 and about 0.5 from 6 on. It compiles in half of
# the time or less at 7.
_LAST_NESTED_ORDER = 2


def total_derivatives(
    f: Callable[[Any, Any, Any], PyTree],
    t: ScalarLike,
    y: PyTree[Float[Array, "..."]],
    args: PyTree,
    order: int,
    *,
    method: str = "auto",
) -> tuple[PyTree[Float[Array, "..."]], ...]:
    """Derivatives in time of the solution through `(t, y)` of `dy/dt = f(t, y, args)`.

    These are total derivatives: the state moves with the field, and time moves too,

        dy/dt = f,   d^2y/dt^2 = df/dt + (df/dy) f,   ...

    With `z = (y, t)` and `g(z) = (f, 1)`, `"nested"` takes `h_1 = g` and
    `h_{k+1}(z) = jvp(h_k, z, g(z))`, which doubles the program with each order. `"taylor"` finds
    the Taylor coefficients of the solution one after another,
    `c_{k+1} = [g(c_0 + ... + c_k s^k)]_k / (k + 1)`; its program grows as a power of the order.
    Both take any `f` that `jax.jvp` takes, honour `jax.custom_jvp`, and give the same values.
    Compile the call (`jax.jit`): outside a compiled function either method is slow.

    Args:
        f: Vector field `f(t, y, args)`; its value has the structure, shapes and dtypes of `y`.
        t: Time, a scalar.
        y: State, any PyTree of floating arrays.
        args: Whatever `f` takes as its third argument.
        order: Highest derivative, 1 or more.
        method: `"nested"`, `"taylor"`, or `"auto"`, which takes the one that was measured to be
            better at this order.

    Returns:
        The tuple `(dy/dt, ..., d^order y/dt^order)`. Each has the structure of `y`; the k-th has
        the units of `y` over time to the k.

    Raises:
        ValueError: If `order` is below 1, `method` is unknown, `t` is not a scalar, or `f` returns
            what does not fit `y`.
        TypeError: If `y` holds what is not a floating array.

    Example:
        Along `dy/dt = t^2` the derivatives are `t^2`, `2t`, `2`:

        >>> import jax.numpy as jnp
        >>> rates = total_derivatives(lambda t, y, args: t**2, 3.0, jnp.array(1.0), None, order=3)
        >>> [float(rate) for rate in rates]
        [9.0, 6.0, 2.0]

    Source:
        Kelly, Bettencourt, Johnson and Duvenaud, "Learning Differential Equations that are Easy to
        Solve", arXiv 2007.04504, section 4 and appendix B.
    """
    if order < 1:
        raise ValueError(f"`order` must be 1 or more, the number of derivatives; got {order}.")
    if method not in _METHODS:
        hint = did_you_mean(method, _METHODS) or "."
        raise ValueError(f"`method` must be one of {_METHODS}; got {method!r}{hint}")
    leaves, treedef = jtu.tree_flatten(y)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    if not leaves or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        dtypes = [str(leaf.dtype) for leaf in leaves]
        raise TypeError(f"`y` must be a PyTree of floating arrays; got the dtypes {dtypes}.")
    t = _as_time(t, leaves[0].dtype)

    def field(*path: Array) -> list[Array]:
        *state, time = path
        return _checked(f(time, jtu.tree_unflatten(treedef, state), args), leaves, treedef)

    if method == "nested" or (method == "auto" and order <= _LAST_NESTED_ORDER):
        rates = _nested(field, (*leaves, t), order)
    else:
        rates = _taylor(field, (*leaves, t), order)
    return tuple(jtu.tree_unflatten(treedef, rate) for rate in rates)


def _as_time(t: Any, dtype: Any) -> Array:
    time = jnp.asarray(t)
    if time.shape != ():
        raise ValueError(f"`t` must be a scalar; got the shape {time.shape}. Use `jax.vmap`.")
    is_floating_array = hasattr(t, "dtype") and jnp.issubdtype(time.dtype, jnp.floating)
    return time if is_floating_array else time.astype(dtype)


def _checked(rate: PyTree, leaves: list[Array], treedef: Any) -> list[Array]:
    found, structure = jtu.tree_flatten(rate)
    found = [jnp.asarray(leaf) for leaf in found]
    if structure != treedef:
        raise ValueError(
            f"`f(t, y, args)` must return the structure of `y`, {treedef}; got {structure}."
        )
    wants = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
    gets = [(leaf.shape, str(leaf.dtype)) for leaf in found]
    if gets != wants:
        raise ValueError(
            f"`f(t, y, args)` must return the shapes and dtypes of `y`, {wants}; got {gets}."
        )
    return found


def _nested(field: Callable, point: tuple[Array, ...], order: int) -> list[list[Array]]:
    def velocity(z: tuple[Array, ...]) -> tuple[Array, ...]:
        return (*field(*z), jnp.ones_like(z[-1]))

    def extend(h: Callable) -> Callable:
        def derivative(z: tuple[Array, ...]) -> tuple:
            value, rate, lower = jax.jvp(h, (z,), (velocity(z),), has_aux=True)
            return rate, (*lower, value)

        return derivative

    h: Callable = lambda z: (field(*z), ())
    for _ in range(order - 1):
        h = extend(h)
    last, lower = h(point)
    return [*lower, last]


def _taylor(field: Callable, point: tuple[Array, ...], order: int) -> list[list[Array]]:
    closed = jax.make_jaxpr(field)(*point)
    *state, time = point
    path = [(leaf,) for leaf in state]
    for k in range(order):
        clock = (time, jnp.ones_like(time), *[jnp.zeros_like(time)] * (k - 1))[: k + 1]
        rates = interpret(closed, [*path, clock], k)
        path = [
            (*value, pad(rate, k)[k] / (k + 1)) for value, rate in zip(path, rates, strict=True)
        ]
    return [[math.factorial(k) * value[k] for value in path] for k in range(1, order + 1)]
