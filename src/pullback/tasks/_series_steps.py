"""Irregular series, each on equal steps from its own beginning: what a predictor is given."""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback.data import IrregularSeries, LongTable, on_grid

from ._series_rows import time_name


class Steps(NamedTuple):
    """Series on equal steps.

    Attributes:
        ids: their names.
        variables: names, in the order in which the model is given them.
        written: the variables as they stand in the table.
        times: where each row begins, in the unit of the times, `[series, time]`.
        values: NaN where nothing was observed, `[series, time, variable]`.
        lengths: rows up to the last observation of each series.
        names: what the columns of series, time and variable are called.
        time_unit: of the times.
        source: where they came from.
        is_file: whether from a file.
        lost: values that have a later one of the same variable in the same step.
    """

    ids: tuple[str, ...]
    variables: tuple[str, ...]
    written: tuple[str, ...]
    times: Float[np.ndarray, "s t"]
    values: Float[np.ndarray, "s t v"]
    lengths: Int[np.ndarray, " s"]
    names: tuple[str, str, str]
    time_unit: str
    source: str
    is_file: bool
    lost: int

    def of_one(self, place: int) -> Float[np.ndarray, "t v"]:
        """The values of one series, without the rows behind its end."""
        return self.values[place, : self.lengths[place]]

    def carried(self) -> Float[np.ndarray, "s t v"]:
        """The values, with the last row again behind the end, for what is compiled for a length."""
        at = np.minimum(np.arange(self.values.shape[1]), self.lengths[:, None] - 1)
        return np.take_along_axis(self.values, at[:, :, None], axis=1)


def usual_step(series: IrregularSeries) -> float:
    """The usual gap between the times of a series, without the rounding of the times."""
    gaps = np.diff(series.times.astype(np.float64), axis=1)
    if not (gaps > 0).any():
        return 1.0
    gap = float(np.median(gaps[gaps > 0]))
    rounding = 4 * float(np.finfo(series.times.dtype).eps * np.abs(series.times).max())
    # 5 minutes at the hours since 1970 are not 0.0833333333139 of one, but a twelfth.
    simple = (Fraction(gap).limit_denominator(2**bits) for bits in range(24))
    near = (float(each) for each in simple if each > 0 and abs(each - gap) <= rounding)
    return next(near, gap)


def on_steps(given: LongTable, step: float, variables: tuple[str, ...]) -> Steps:
    """Series on steps that begin, in each, at the multiple of `step` before its first time.

    Each is put there by itself: nothing of it depends on the others.

    Args:
        given: what was read.
        step: in the unit of the times.
        variables: those to take, in this order; one that is lacking has no value.

    Raises:
        ValueError: none of them is there, or a series has no value of any.
    """
    series = _selected(given.series, variables)
    empty = [name for name, count in zip(series.ids, series.counts, strict=True) if not count]
    if empty:
        raise ValueError(
            f"{given.source}: series {empty[0]!r} has no value of {', '.join(variables)}; leave it "
            "out."
        )
    grids = [on_grid(series.take(np.array([row])), step) for row in range(len(series.ids))]
    lengths = np.array([len(grid.times) for grid in grids])
    values = np.full((len(grids), lengths.max(), len(variables)), np.nan)
    # Behind its end, a series' steps go on.
    times = step * np.arange(values.shape[1]) + np.array([[grid.times[0]] for grid in grids])
    for row, (grid, length) in enumerate(zip(grids, lengths, strict=True)):
        times[row, :length], values[row, :length] = grid.times, grid.values[0]
    placed = dict(zip(given.series.variables, given.written, strict=True))
    names = tuple(given.columns[role] for role in ("series", "time", "variable"))
    return Steps(
        series.ids, variables, tuple(placed.get(name, name) for name in variables),
        times, values, lengths,
        (names[0], names[1], names[2]), series.time_unit, given.source, given.is_file,
        int(series.mask.sum() - (~np.isnan(values)).sum()),
    )  # fmt: skip


def says_steps(steps: Steps, step: float) -> list[str]:
    """What was done to the times, in sentences."""
    told = [
        f"The series were put on steps of {step:.4g}{time_name(steps.time_unit)}, "
        f"{steps.values.shape[1]} at most; the model is given them as (n, time, "
        f"{len(steps.variables)}), the variables in the order {', '.join(steps.variables)}, NaN "
        "where nothing was observed."
    ]
    if steps.lost:
        told.append(
            f"{steps.lost} values have a later one in the same step, and were left out: give a "
            "shorter `step` where they matter."
        )
    return told


def _selected(series: IrregularSeries, variables: tuple[str, ...]) -> IrregularSeries:
    places: dict[str, Any] = {name: k for k, name in enumerate(series.variables)}
    known = [name for name in variables if name in places]
    if not known:
        raise ValueError(
            f"none of the variables {', '.join(variables)} is in what is given, which has "
            f"{', '.join(series.variables)}."
        )
    shape = (*series.times.shape, len(variables))
    values, mask = np.zeros(shape), np.zeros(shape, bool)
    units = [""] * len(variables)
    for k, name in enumerate(variables):
        if name in places:
            values[:, :, k] = series.values[:, :, places[name]]
            mask[:, :, k] = series.mask[:, :, places[name]]
            units[k] = series.units[places[name]]
    return series._replace(values=values, mask=mask, variables=variables, units=tuple(units))
