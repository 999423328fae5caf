"""How much memory a padded grid takes, asked before it is taken."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from pullback._names import shown

_FREE = 1 << 30  # bytes that any grid may take, a GiB
_PLACES = 100  # for each observation: a grid with more is all but empty


def check_room(
    lengths: Int[np.ndarray, " series"],
    n_variables: int,
    observed: int,
    place_bytes: int,
    ids: Sequence[str] = (),
) -> None:
    """Raise for a grid that its observations do not justify, or that no memory here can hold.

    Args:
        lengths: how many times each series has.
        n_variables: how many there are in all.
        observed: how many observations there are.
        place_bytes: what a place of the grid takes.
        ids: the names of the series.

    Raises:
        ValueError: with the bytes that it would take, and what to do.
    """
    width = max(1, int(lengths.max(initial=0)))
    taken = too_much(len(lengths), f"{width} times", width, n_variables, observed, place_bytes)
    if not taken:
        return
    usual, several = float(np.median(lengths)), observed / max(1, int(lengths.sum()))
    if n_variables * usual >= width * several:
        why = (
            f"a time has {several:.3g} of the variables on average. Is the column of variables the "
            "right one (variable=...)? If it is, read series that share theirs from a file of "
            "their own."
        )
    else:
        longest = int(np.argmax(lengths))
        name = f" {shown(ids[longest])}" if len(ids) else ""
        why = (
            f"the longest series,{name or ' number ' + str(longest + 1)}, has {width} times, and "
            f"half of them have {usual:.0f} or fewer. Cut the longest into several series, or read "
            "them from a file of their own."
        )
    raise ValueError(f"{taken}; {why}")


def too_much(
    n_series: int, wide: str, width: int, n_variables: int, observed: int, place_bytes: int
) -> str:
    """What a grid would take, where its observations do not justify it or no memory can hold it."""
    places = n_series * width * n_variables
    needed = places * place_bytes
    if needed <= _FREE or (places <= _PLACES * observed and needed <= _memory()):
        return ""
    return (
        f"{n_series} series x {wide} x {n_variables} variables on one grid would take "
        f"{needed / _FREE:.3g} GiB, for {observed} observations"
    )


def _memory() -> float:
    """Bytes of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return float("inf")
