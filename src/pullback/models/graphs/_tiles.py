"""Rows some at a time, as many as there are so far: forward and backward."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

# function((shared, rows), (shared, rows), first) -> (rows, total): floats, whole numbers, and the
# number of the first row.
Rows = Callable[[tuple[PyTree, PyTree], tuple[PyTree, PyTree], Any], tuple[PyTree, PyTree]]


def tiled(
    function: Rows,
    floats: tuple[PyTree, PyTree],
    ints: tuple[PyTree, PyTree],
    count: Int[Array, ""],
    tile: int,
) -> tuple[PyTree, PyTree]:
    """`function` of all rows, where rows from `count` on add nothing and may be left out.

    The work is of `count` rows, and the memory beyond what is returned of a tile of them, in the
    backward pass too, where a tile is computed again. What is returned for rows left out is zero.

    Args:
        function: of what is shared and some rows, to something for each row and a total over them.
        floats: what is shared, and what is for each row, with an axis of them in front: it has a
            slope.
        ints: the same, of whole numbers and truth values.
        count: how many rows count.
        tile: how many rows at a time; where there are no more it is all at once.
    """
    if jax.tree.leaves(floats[1])[0].shape[0] <= tile:
        return function(floats, ints, jnp.zeros((), jnp.int32))
    return _loop(floats, function, ints, count, tile)


@eqx.filter_custom_vjp
def _loop(floats: Any, function: Rows, ints: Any, count: Array, tile: int) -> tuple[PyTree, PyTree]:
    size = jax.tree.leaves(floats[1])[0].shape[0]
    at = lambda first: (
        (floats[0], _rows(floats[1], first, tile)),
        (ints[0], _rows(ints[1], first, tile)),
    )
    zero = jnp.zeros((), jnp.int32)
    rows, total = jax.eval_shape(function, *at(zero), zero)
    whole = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape[1:]), leaf.dtype), rows)
    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), total)

    def some(number: Array, found: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        first = number * tile
        rows, more = function(*at(first), first)
        return _put(found[0], rows, first), jax.tree.map(jnp.add, found[1], more)

    return jax.lax.fori_loop(zero, _tiles(count, tile), some, (whole, total))


@_loop.def_fwd
def _forward(
    perturbed: Any, floats: Any, function: Rows, ints: Any, count: Array, tile: int
) -> Any:
    return _loop(floats, function, ints, count, tile), None


@_loop.def_bwd
def _backward(
    residuals: None,
    slopes: Any,
    perturbed: Any,
    floats: Any,
    function: Rows,
    ints: Any,
    count: Array,
    tile: int,
) -> Any:
    zero = jnp.zeros((), jnp.int32)
    shapes = jax.eval_shape(lambda: _loop.fn(floats, function, ints, count, tile))
    filled = lambda slope, leaf: jnp.zeros(leaf.shape, leaf.dtype) if slope is None else slope
    of_rows, of_total = jax.tree.map(filled, slopes, shapes, is_leaf=lambda leaf: leaf is None)
    arrays, rest = eqx.partition(floats, eqx.is_inexact_array)

    def some(number: Array, found: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        first = number * tile
        now = (ints[0], _rows(ints[1], first, tile))
        call = lambda arrays: function(eqx.combine(arrays, rest), now, first)
        _, pull = jax.vjp(call, (arrays[0], _rows(arrays[1], first, tile)))
        [(shared, rows)] = pull((_rows(of_rows, first, tile), of_total))
        return jax.tree.map(jnp.add, found[0], shared), _put(found[1], rows, first)

    return jax.lax.fori_loop(zero, _tiles(count, tile), some, jax.tree.map(jnp.zeros_like, arrays))


def _tiles(count: Array, tile: int) -> Array:
    return (count.astype(jnp.int32) + (tile - 1)) // tile


def _rows(tree: PyTree, first: Array, tile: int) -> PyTree:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, tile), tree)


def _put(tree: PyTree, rows: PyTree, first: Array) -> PyTree:
    put = lambda leaf, rows: jax.lax.dynamic_update_slice_in_dim(leaf, rows, first, 0)
    return jax.tree.map(put, tree, rows)
