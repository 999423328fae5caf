"""From one row an observation to one padded array a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pullback.data._room import check_room


class Entries(NamedTuple):
    """Observations, one a row.

    Attributes:
        series: which series each belongs to.
        time: when.
        variable: of what.
        value: the number.
    """

    series: Int[np.ndarray, " n"]
    time: Float[np.ndarray, " n"]
    variable: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]

    def take(self, index: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"] | slice) -> "Entries":
        return Entries(*(column[index] for column in self))


def order(entries: Entries) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """By series, time and variable, else in the order given; and what has the place of the last."""
    by_place = np.arange(len(entries.series))
    keys = list(entries[:3])
    if not _are_ordered(keys):
        for key in keys[::-1]:
            few = key.dtype.kind == "i" and len(key) and key.max() < 2**16
            # Of two bytes NumPy sorts without comparing.
            by_place = by_place[
                np.argsort((key.astype(np.uint16) if few else key)[by_place], kind="stable")
            ]
        keys = [column[by_place] for column in keys]
    same = np.zeros(len(by_place), bool)
    same[1:] = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
    return by_place, same


def _are_ordered(keys: Sequence[np.ndarray]) -> bool:
    """Whether rows stand by the first of these keys, then by the second, and so on."""
    tied: np.ndarray | bool = True
    for key in keys:
        before, behind = key[:-1], key[1:]
        if (tied & (before > behind)).any():
            return False
        tied = tied & (before == behind)
    return True


def average(entries: Entries) -> Entries:
    """Several values at one place become their mean; the rows come out ordered."""
    by_place, same = order(entries)
    ordered = entries.take(by_place)
    if not len(by_place):
        return ordered
    starts = np.flatnonzero(~same)
    count = np.diff(np.append(starts, len(same)))
    mean = np.add.reduceat(ordered.value.astype(np.float64), starts) / count
    return ordered.take(starts)._replace(value=mean.astype(entries.value.dtype))


def pack(
    entries: Entries, n_series: int, n_variables: int, ids: Sequence[str] = ()
) -> tuple[
    Float[np.ndarray, "series time"],
    Float[np.ndarray, "series time variable"],
    Bool[np.ndarray, "series time variable"],
]:
    """Times, values and mask of ordered entries with one value a place.

    A series with no entry gets the time 0 with nothing observed.

    Raises:
        ValueError: the grid would take more memory than its entries justify.
    """
    row = entries.series
    new = np.ones(len(row), bool)
    new[1:] = (row[1:] != row[:-1]) | (entries.time[1:] != entries.time[:-1])
    at = np.flatnonzero(new)
    row, time = row[at], entries.time[at]
    points = np.bincount(row, minlength=n_series)
    check_room(points, n_variables, len(new), entries.value.itemsize + 1, ids)
    ends, width = np.cumsum(points), max(1, int(points.max(initial=0)))
    times = np.zeros((n_series, width), time.dtype)
    if len(row):
        times[:] = np.where(points > 0, time[np.maximum(ends - 1, 0)], time.dtype.type(0))[:, None]
    # Of all times in a row the places on the grid, and of all values theirs.
    place = np.arange(len(row)) + (np.arange(n_series) * width - ends + points)[row]
    times.reshape(-1)[place] = time
    place = np.repeat(place, np.diff(np.append(at, len(new)))) * n_variables + entries.variable
    values = np.zeros((n_series, width, n_variables), entries.value.dtype)
    values.reshape(-1)[place] = entries.value
    mask = np.zeros(values.shape, bool)
    mask.reshape(-1)[place] = True
    return times, values, mask
