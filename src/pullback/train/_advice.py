"""What to do about a step that could not be taken."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Int, PyTree

from pullback.train._loop import UPDATE_FAILED


def what_to_try(data: PyTree, rows: Int[np.ndarray, " batch"], *, step: int, reason: int) -> str:
    """A sentence for the message: of a row that is not finite, of scales, or of the learning rate.

    Args:
        data: all examples.
        rows: the examples of the step.
        step: how many steps were taken before.
        reason: why it could not be taken.
    """
    sizes = _sizes(data, rows)
    if reason != UPDATE_FAILED and len(sizes):
        bad = rows[~np.isfinite(sizes)]
        if len(bad):
            return (
                f"Row {bad.min()} of `data`, which is in this batch, is not finite: leave such "
                "rows out, or fill in what is missing."
            )
        if step == 0:
            return (
                "No step was taken yet, and so no learning rate is to blame: look at the model "
                f"and at the scale of the data, of which row {rows[np.argmax(sizes)]} has the "
                f"largest entry of this batch, {np.max(sizes):.3g} in size."
            )
    return "Try a smaller learning rate, `clip_norm`, or float64."


def _sizes(data: PyTree, rows: Int[np.ndarray, " batch"]) -> np.ndarray:
    """The largest absolute entry of each example; NaN where one is."""
    parts = [
        np.max(np.abs(np.asarray(leaf[rows], float)).reshape(len(rows), -1), axis=1)
        for leaf in jax.tree.leaves(data)
        if np.issubdtype(leaf.dtype, np.floating) and np.size(leaf)
    ]
    return np.max(parts, axis=0) if parts else np.zeros(0)


def refuse_traced(name: str, *trees: Any) -> None:
    """`name` was called within a transformation of JAX, where it cannot work: say so."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees)):
        raise TypeError(
            f"`{name}` was called within `jax.jit`, `vmap` or a gradient. It compiles its own "
            "steps and reports to the host between them, so call it by itself; `fit_stack` trains "
            "many models at once."
        )
