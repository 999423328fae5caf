"""What to do about a step that could not be taken."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Int, PyTree

from pullback._leading_axis import leading_axis
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
    if reason != UPDATE_FAILED:
        bad = rows[~np.isfinite(sizes)]
        if len(bad):
            return _not_finite("data", bad, ", which is in this batch,")
        if step == 0:
            return (
                "No step was taken yet, and so no learning rate is to blame: look at the model "
                f"and at the scale of the data, of which row {rows[np.argmax(sizes)]} has the "
                f"largest entry of this batch, {np.max(sizes):.3g} in size."
            )
    return "Try a smaller learning rate, `clip_norm`, or float64."


def bad_row(data: PyTree, *, name: str) -> str:
    """A sentence that names the first row that is not finite; nothing where all are."""
    rows = np.arange(leading_axis(data, name=name))
    bad = rows[~np.isfinite(_sizes(data, rows))]
    return f"{_not_finite(name, bad)} " if len(bad) else ""


def _not_finite(name: str, rows: Int[np.ndarray, " bad"], where: str = "") -> str:
    return (
        f"Row {rows.min()} of `{name}`{where} is not finite: leave such rows out, or fill in what "
        "is missing."
    )


def _sizes(data: PyTree, rows: Int[np.ndarray, " batch"]) -> np.ndarray:
    """The largest absolute entry of each example; NaN where one is."""
    parts = [
        np.max(np.abs(np.asarray(leaf[rows], float)).reshape(len(rows), -1), axis=1)
        for leaf in jax.tree.leaves(data)
        if np.issubdtype(leaf.dtype, np.floating) and np.size(leaf)
    ]
    return np.max(parts, axis=0) if parts else np.zeros(len(rows))


def refuse_traced(name: str, *trees: Any) -> None:
    """`name` was called within a transformation of JAX, where it cannot work: say so."""
    # Within `jit` every new array is traced, also where nothing that is handed over is.
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((trees, jnp.zeros(())))):
        raise TypeError(
            f"`{name}` was called within `jax.jit`, `vmap` or a gradient. It compiles its own "
            "steps and reports to the host between them, so call it by itself; `fit_stack` trains "
            "many models at once."
        )
