"""Columns of the user's own beside those that a task writes."""

from collections.abc import Mapping
from typing import Any


def beside(given: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the user's own and what is found, so that none is written over another.

    A name of both gets `given_` in front.

    Example:
        >>> beside({"mean": ["a"], "id": [7]}, {"mean": [0.5]})
        {'given_mean': ['a'], 'id': [7], 'mean': [0.5]}
    """
    own = {f"given_{name}" if name in found else name: cells for name, cells in given.items()}
    return {**own, **found}
