"""Many rows, some at a time: what bounds the memory of a loop over data, samples or chains."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from pullback._inputs import positive


def over_rows(
    function: Callable[[Any], PyTree],
    rows: PyTree,
    batch_size: int | None,
    *,
    recompute: bool = False,
) -> PyTree:
    """`jax.vmap(function)(rows)`, with no more than `batch_size` rows in memory at once.

    Args:
        function: from one row to any PyTree of arrays.
        rows: arrays with an axis of rows in front.
        batch_size: the most rows at once; None: all.
        recompute: do the work of a batch again in the backward pass, so that memory is bounded
            there too.
    """
    check_batch_size(batch_size)
    if batch_size is None or batch_size >= jax.tree.leaves(rows)[0].shape[0]:
        return jax.vmap(function)(rows)
    function = jax.checkpoint(function) if recompute else function
    return jax.lax.map(function, rows, batch_size=batch_size)


def over_batches(function: Callable[[Any], PyTree], rows: PyTree, batch_size: int | None) -> PyTree:
    """`function(rows)`, by batches of `batch_size` rows: for a function of a whole batch.

    The last batch is filled up with the first rows, so that one program serves all.
    """
    check_batch_size(batch_size)
    n = jax.tree.leaves(rows)[0].shape[0]
    if batch_size is None or batch_size >= n:
        return function(rows)
    number = -(-n // batch_size)
    index = jnp.arange(number * batch_size).reshape(number, batch_size) % n
    found = jax.lax.map(lambda i: function(jax.tree.map(lambda leaf: leaf[i], rows)), index)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n], found)


def over_batches_summed(
    function: Callable[[Any, Any], PyTree], rows: PyTree, batch_size: int | None
) -> PyTree:
    """`function(rows, number)`, a sum over rows, added up over batches with their numbers.

    A last batch with fewer rows is one of its own, so that no row is counted twice.
    """
    check_batch_size(batch_size)
    n = jax.tree.leaves(rows)[0].shape[0]
    if batch_size is None or batch_size >= n:
        return function(rows, jnp.asarray(0))
    number, rest = divmod(n, batch_size)
    whole = jax.tree.map(
        lambda leaf: leaf[: n - rest].reshape(number, batch_size, *leaf.shape[1:]), rows
    )
    add = lambda a, b: jax.tree.map(jnp.add, a, b)
    one = jax.tree.map(lambda leaf: leaf[:batch_size], rows)
    shapes = jax.eval_shape(function, one, jnp.asarray(0))
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    step = lambda total, batch: (add(total, function(*batch)), None)
    total = jax.lax.scan(step, nothing, (whole, jnp.arange(number)))[0]
    if not rest:
        return total
    last = jax.tree.map(lambda leaf: leaf[n - rest :], rows)
    return add(total, function(last, jnp.asarray(number)))


def check_batch_size(batch_size: int | None) -> None:
    """Refuse a batch of no row."""
    if batch_size is not None:
        positive(batch_size=batch_size)
