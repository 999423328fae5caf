"""The question that all ask who are given data to train on or to score: do they fit the model?"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.core import Tracer

F = TypeVar("F", bound=Callable[..., Any])


def check_data(scorer: Any, *args: Any) -> None:
    """`scorer.check(*args)`, where it has such a method, or the object whose method it is has.

    What is traced has no values yet, and is let through: whoever compiles a score looks before.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(args)):
        return
    owner = scorer if hasattr(scorer, "check") else getattr(scorer, "__self__", None)
    check = getattr(owner, "check", None)
    if check is not None:
        check(*args)


def checked_by(check: Callable[..., None]) -> Callable[[F], F]:
    """A loss that is a plain function, with the `check` of its model and data."""

    def mark(loss: F) -> F:
        loss.__dict__["check"] = check
        return loss

    return mark


def check_rows(x: Any, *, name: str = "data") -> None:
    """Raise ValueError where a row is not finite, with the number of the first."""
    x = np.asarray(x)
    bad = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))
    if len(bad):
        more = "" if len(bad) == 1 else f", one of {len(bad)} such rows"
        raise ValueError(
            f"`{name}` must be finite; row {bad[0]} is not{more}. Leave such rows out, or fill in "
            "what is missing."
        )


def check_labels(labels: Any, classes: int) -> None:
    """Raise ValueError where a label is no class, with the least and the greatest."""
    labels = np.asarray(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"the labels in `data` must lie between 0 and {classes - 1}, got {labels.min()} to "
            f"{labels.max()}."
        )
