"""States whose lanes each have a time of their own: to index, select and add lane by lane.

A *lane* is what has its own time and step: the whole state when steps are joint (a time has shape
`[]`), or each entry of the leading axis when they are per sample (a time has shape `[lanes]`).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

Time = Float[Array, "*lanes"]
State = PyTree[Float[Array, "..."]]


def spread(h: Time, leaf: Array) -> Array:
    """`h` in the dtype of `leaf`, with axes added so that it multiplies `leaf` lane by lane."""
    h = h.astype(leaf.dtype)
    return h if h.ndim == 0 else jnp.reshape(h, h.shape + (1,) * (leaf.ndim - h.ndim))


def add(x: State, y: State) -> State:
    """The sum of two states."""
    return jax.tree.map(jnp.add, x, y)


def zeros_like(x: PyTree) -> PyTree:
    """Zeros in the shape of `x`."""
    return jax.tree.map(jnp.zeros_like, x)


def filled(tangent: PyTree, x: PyTree) -> PyTree:
    """The tangent of `x`, whose leaves that do not vary are None, with zeros there."""

    def one(d: Array | None, leaf: Array | None) -> Array | None:
        return jnp.zeros_like(leaf) if d is None and leaf is not None else d

    return jax.tree.map(one, tangent, x, is_leaf=lambda leaf: leaf is None)


def put(buffer: PyTree, value: PyTree, index: Array) -> PyTree:
    """`buffer` with `value` at `index` of its leading axis."""
    return jax.tree.map(lambda b, v: lax.dynamic_update_index_in_dim(b, v, index, 0), buffer, value)


def take(buffer: PyTree, index: Array) -> PyTree:
    """The entry of `buffer` at `index` of its leading axis."""
    return jax.tree.map(lambda b: lax.dynamic_index_in_dim(b, index, 0, keepdims=False), buffer)


def select(mask: Array, x: State, y: State) -> State:
    """`x` for the lanes in `mask`, `y` for the others."""

    def one(a: Array, b: Array) -> Array:
        m = mask if mask.ndim == 0 else jnp.reshape(mask, mask.shape + (1,) * (a.ndim - 1))
        return jnp.where(m, a, b)

    return jax.tree.map(one, x, y)


def time_at(ts: Float[Array, "*lanes times"], index: Int[Array, "*lanes"]) -> Array:
    """Each lane's time number `index`."""
    if index.ndim == 0:
        return lax.dynamic_index_in_dim(ts, index, -1, keepdims=False)
    return jnp.take_along_axis(ts, index[:, None], axis=1)[:, 0]


def rows_at(ys: PyTree[Array], index: Int[Array, "*lanes"]) -> PyTree[Array]:
    """Each lane's row number `index` of `ys`, whose leading axis is time."""
    if index.ndim == 0:
        return take(ys, index)
    lanes = jnp.arange(index.shape[0])
    return jax.tree.map(lambda y: y[index, lanes], ys)


def set_rows(ys: State, index: Int[Array, "*lanes"], mask: Array, value: State) -> State:
    """`ys` with each lane's row number `index` set to `value` where `mask`."""
    value = select(mask, value, rows_at(ys, index))
    if index.ndim == 0:
        return put(ys, value, index)
    lanes = jnp.arange(index.shape[0])
    return jax.tree.map(lambda y, v: y.at[index, lanes].set(v), ys, value)


def select_add(mask: Array, total: PyTree, new: PyTree) -> PyTree:
    """`total + new`, where `new` counts for the lanes in `mask` only (elsewhere it may be NaN)."""
    joint = mask.ndim == 0

    def one(a: Array, b: Array) -> Array:
        m = mask if joint else jnp.reshape(mask, mask.shape + (1,) * (a.ndim - 1))
        return a + jnp.where(m, b, 0.0)

    return jax.tree.map(one, total, new)


def add_time(ts: Float[Array, "*lanes times"], index: Array, value: Array) -> Array:
    """`ts` with `value` added at each lane's time number `index`."""
    if index.ndim == 0:
        return ts.at[index].add(value)
    return ts.at[jnp.arange(index.shape[0]), index].add(value)
