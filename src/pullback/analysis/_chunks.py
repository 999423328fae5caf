"""A compiled program over many examples, some at a time."""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree
from rich.console import Console
from rich.progress import track

from pullback._in_batches import check_batch_size
from pullback._leading_axis import leading_axis
from pullback._traced import Compiled


def over_chunks(
    function: Callable[..., PyTree],
    *fixed: PyTree,
    data: tuple[PyTree, ...],
    batch_size: int | None,
    progress: bool | None,
    what: str,
) -> PyTree:
    """`function(*fixed, *chunk)` of `batch_size` examples at a time, laid end to end, compiled.

    The last chunk is filled up by its last example, so that all are of one shape and one program
    serves them. It is traced here, once, so that it is of what the user's functions read by now.
    """
    count = leading_axis(data, name="x")
    check_batch_size(batch_size)
    size = min(batch_size or count, count)
    shown = sys.stderr.isatty() if progress is None else progress
    starts = track(
        range(0, count, size),
        description=what,
        console=Console(stderr=True),
        disable=not shown,
    )
    parts, run = [], None
    for start in starts:
        rows = jnp.minimum(jnp.arange(start, start + size), count - 1)
        chunk = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf)[rows], data)
        run = Compiled(function, *fixed, *chunk) if run is None else run
        part = run(*fixed, *chunk)
        # On the host, so that the bar tells the truth and memory is let go.
        parts.append(jax.block_until_ready(part))
    return jax.tree.map(lambda *leaves: _joined(leaves, count), *parts)


def _joined(leaves: tuple[Array, ...], count: int) -> Array:
    return (leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves))[:count]
