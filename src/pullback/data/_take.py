"""Which of several to take."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def places_of(places: Sequence[int] | np.ndarray, count: int) -> Int[np.ndarray, " chosen"]:
    """The places, from 0, that are named or where a mask is true.

    Args:
        places: whole numbers, of which -1 is the last place; or a mask of length `count`.
        count: how many there are to take from.

    Raises:
        TypeError: `places` are no whole numbers and no mask, or are not one after another.
        ValueError: a mask is of another length.
        IndexError: there is no such place.
    """
    at = np.asarray(places)
    if at.ndim != 1 or (at.size and at.dtype.kind not in "biu"):
        got = f"{at.dtype} of shape {at.shape}"
        raise TypeError(f"`places` must be a list of whole numbers, or a mask; got {got}.")
    if at.dtype == bool:
        if len(at) != count:
            raise ValueError(f"`places` must be a mask of {count}, one each; got {len(at)}.")
        return np.flatnonzero(at)
    outside = (at < -count) | (at >= count)
    if outside.any():
        last = f"the last of {count} is {count - 1}" if count else "there is none"
        raise IndexError(f"`places` has {at[outside][0].item()}, but {last}.")
    return at.astype(np.int64)
