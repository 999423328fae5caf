"""Strings held out of a fit, all copies of one together, and who is better on them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.model_selection import GroupShuffleSplit


def split_strings(
    strings: Sequence[str], seed: int, *, share: float, fewest: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Rows to learn from, and rows that judge; a string that repeats is all on one side.

    Args:
        strings: what is split.
        seed: of the split.
        share: of the different strings, that judges.
        fewest: different strings, of fewer of which none is held out.
    """
    kinds, group = np.unique(np.asarray(strings), return_inverse=True)
    if len(kinds) < fewest:
        return np.arange(len(strings)), np.zeros(0, int)
    parts = GroupShuffleSplit(1, test_size=share, random_state=seed)
    train, test = next(parts.split(group, groups=group))
    return np.sort(train), np.sort(test)


def lead(ours: Float[np.ndarray, " n"], others: Float[np.ndarray, " n"]) -> dict[str, float]:
    """By how much errors on the same things are below others in the mean, and its standard error.

    Args:
        ours: two or more.
        others: those of another, in the same order.
    """
    gap = others - ours
    error = gap.std(ddof=1) / np.sqrt(len(gap))
    return {"ahead": float(gap.mean()), "ahead_error": float(error)}
