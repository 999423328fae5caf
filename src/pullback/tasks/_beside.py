"""Columns of the user's own beside those that a task writes, and cells that are empty."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def beside(given: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the user's own and what is found, so that none is written over another.

    A name of both gets `given_` in front.

    Example:
        >>> beside({"mean": ["a"], "id": [7]}, {"mean": [0.5]})
        {'given_mean': ['a'], 'id': [7], 'mean': [0.5]}
    """
    own = {f"given_{name}" if name in found else name: cells for name, cells in given.items()}
    return {**own, **found}


def or_none(numbers: np.ndarray, known: np.ndarray) -> list[Any]:
    """Numbers as cells, of which those that are not known are empty.

    Example:
        >>> or_none(np.array([1.5, np.nan]), np.array([True, False]))
        [1.5, None]
    """
    return [x if k else None for x, k in zip(numbers.tolist(), known.tolist(), strict=True)]
