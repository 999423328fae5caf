"""Strings held out of a fit, all copies of one together."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
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
