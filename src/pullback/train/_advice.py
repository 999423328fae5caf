"""What to do about a step that could not be taken."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Int, PyTree

from pullback._leading_axis import leading_axis
from pullback._solve_arguments import check_mesh
from pullback.train._engine import DIVERGED, UPDATE_FAILED

# Whatever the examples were.
LEARNING_FAILED = (UPDATE_FAILED, DIVERGED)

_SMALLER = "Try a smaller learning rate, `clip_norm`, or float64."


class Batch(NamedTuple):
    """A batch of a step that failed: of which stream, and which rows; None where it was drawn."""

    name: str
    examples: PyTree
    rows: Int[np.ndarray, " batch"] | None


def what_to_try(batches: list[Batch], *, step: int, reason: int) -> str:
    """A sentence for the message: of a row that is not finite, of scales, or of the learning rate.

    Args:
        batches: the examples of the step.
        step: how many steps were taken before.
        reason: why it could not be taken.
    """
    if reason in LEARNING_FAILED:
        return _SMALLER
    for batch in batches:
        sizes = _sizes(batch.examples)
        bad = np.flatnonzero(~np.isfinite(sizes))
        if len(bad) == 0:
            continue
        if batch.rows is None:
            return (
                f"Row {bad[0]} of the batch that was drawn is not finite: mend the function that "
                "draws it."
            )
        name = f"the stream {batch.name!r}" if batch.name else "`data`"
        return _not_finite(name, batch.rows[bad], ", which is in this batch,")
    if step > 0 or not batches:
        return _SMALLER
    sizes = _sizes(batches[0].examples)
    if len(sizes) == 0:
        return "The batch that was drawn has no rows: mend the function that draws it."
    rows = batches[0].rows
    where = "a row that was drawn" if rows is None else f"row {rows[np.argmax(sizes)]}"
    return (
        "No step was taken yet, and so no learning rate is to blame: look at the model and at the "
        f"scale of the data, of which {where} has the largest entry of this batch, "
        f"{np.max(sizes):.3g} in size."
    )


def bad_row(data: PyTree, *, name: str) -> str:
    """A sentence that names the first row that is not finite; nothing where all are."""
    leading_axis(data, name=name)
    bad = np.flatnonzero(~np.isfinite(_sizes(data)))
    return f"{_not_finite(f'`{name}`', bad)} " if len(bad) else ""


def _not_finite(name: str, rows: Int[np.ndarray, " bad"], where: str = "") -> str:
    return (
        f"Row {rows.min()} of {name}{where} is not finite: leave such rows out, or fill in what "
        "is missing."
    )


def _sizes(batch: PyTree) -> np.ndarray:
    """The largest absolute entry of each example; NaN where one is."""
    leaves = [leaf for leaf in jax.tree.leaves(batch) if jnp.ndim(leaf)]
    parts = [
        np.max(np.abs(np.asarray(leaf, float)).reshape(len(leaf), -1), axis=1)
        for leaf in leaves
        if jnp.issubdtype(leaf.dtype, jnp.floating) and np.size(leaf)
    ]
    return np.max(parts, axis=0) if parts else np.zeros(len(leaves[0]) if leaves else 1)


def refuse_traced(name: str, *trees: Any) -> None:
    """`name` was called within a transformation of JAX, where it cannot work: say so."""
    # Within `jit` every new array is traced, also where nothing that is handed over is.
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((trees, jnp.zeros(())))):
        raise TypeError(
            f"`{name}` was called within `jax.jit`, `vmap` or a gradient. It compiles its own "
            "steps and reports to the host between them, so call it by itself; with several keys "
            "it trains as many models at once."
        )
    check_mesh(f"what `{name}` was given", trees)
