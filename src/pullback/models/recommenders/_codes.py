"""What a code of a user or an item is."""

from typing import Any

import jax
import numpy as np


def check_codes(name: str, codes: Any, count: int) -> None:
    """Raise for rows that are not whole numbers, or not below `count`. Traced ones pass."""
    if not np.issubdtype(codes.dtype, np.integer):
        raise TypeError(f"`{name}` must be rows, whole numbers, got {codes.dtype}.")
    if isinstance(codes, jax.core.Tracer) or not len(codes):
        return
    found = np.asarray(codes)
    wrong = found[(found < 0) | (found >= count)]
    if len(wrong):
        raise ValueError(
            f"`{name}` must be rows from 0 to {count - 1}, as there are {count}; got {wrong[0]}. "
            "Who is not among them is embedded first: `embed`, `embed_item`."
        )
