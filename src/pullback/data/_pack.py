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

    def take(self, index: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "Entries":
        return Entries(*(column[index] for column in self))


def order(entries: Entries) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """By series, time and variable, else in the order given; and what has the place of the last."""
    by_place = np.lexsort((entries.variable, entries.time, entries.series))
    keys = [column[by_place] for column in entries[:3]]
    same = np.zeros(len(by_place), bool)
    same[1:] = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
    return by_place, same


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
    new_series = np.append(True, np.diff(entries.series) != 0)[: len(entries.series)]
    new_time = new_series | np.append(True, np.diff(entries.time) != 0)[: len(new_series)]
    points = np.bincount(entries.series[new_time], minlength=n_series)
    per_place = entries.value.itemsize + 1
    check_room(points, n_variables, len(entries.value), per_place, ids)
    ends = np.cumsum(points)
    width = max(1, int(points.max(initial=0)))
    row = entries.series
    column = np.cumsum(new_time) - 1 - (ends - points)[row]
    times = np.zeros((n_series, width), entries.time.dtype)
    last = entries.time[new_time][np.maximum(ends - 1, 0)] if len(row) else np.zeros(n_series)
    times[:] = np.where(points > 0, last, np.zeros_like(last))[:, None]
    times[row[new_time], column[new_time]] = entries.time[new_time]
    values = np.zeros((n_series, width, n_variables), entries.value.dtype)
    values[row, column, entries.variable] = entries.value
    mask = np.zeros(values.shape, bool)
    mask[row, column, entries.variable] = True
    return times, values, mask
