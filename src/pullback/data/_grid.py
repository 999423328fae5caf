"""Irregular series at equal steps."""

from numbers import Real
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pullback.data._irregular import IrregularSeries
from pullback.data._long import LongTable
from pullback.data._room import too_much

_MOST = 100_000  # steps: more are a slip in the unit of the step, and fill the memory


class GriddedSeries(NamedTuple):
    """Series at equal steps, NaN where nothing was observed.

    Attributes:
        times: where each step begins, `[time]`, in `time_unit`; to the bit the time of what was
            observed then.
        values: the value that a step ends with, NaN where nothing was observed in it,
            `[series, time, variable]`, in `units`.
        ids: the names of the series.
        variables: the names of the variables.
        units: the unit of each variable, "" where it is not known.
        time_unit: the unit of the times, "" where it is not known.
        targets: one outcome for each series, NaN where it is not known, `[series]`; or None.
    """

    times: Float[np.ndarray, " time"]
    values: Float[np.ndarray, "series time variable"]
    ids: tuple[str, ...]
    variables: tuple[str, ...]
    units: tuple[str, ...]
    time_unit: str
    targets: Float[np.ndarray, " series"] | None


def on_grid(series: IrregularSeries | LongTable, step: float) -> GriddedSeries:
    """Irregular series at equal steps, for a model that takes one row a step.

    Row k holds what was observed from `times[k]` until just before `times[k] + step`: of several
    values of a variable the last, which is what was known when the step was over. All series share
    the steps, which begin at multiples of `step`; the first holds the earliest observation of all.

    Args:
        series: a batch, or a long table that was read.
        step: the length of a step, in the unit of the times.

    Returns:
        The series on the grid. What was not observed stays unknown: nothing is filled in, and a
        series that ends early has rows of NaN behind its end.

    Raises:
        TypeError: `series` or `step` is no such.
        ValueError: `step` is not positive, or so small that there would be more than 100,000 steps,
            or that the grid would take more memory than its observations justify; or nothing was
            observed.

    Example:
        >>> from pullback.data import irregular_series
        >>> two = irregular_series([([0.2, 0.9, 2.5], [1.0, 2.0, 3.0]), ([1.0], [4.0])])
        >>> on_grid(two, 1.0).values[:, :, 0]
        array([[ 2., nan,  3.],
               [nan,  4., nan]])
    """
    series = series.series if isinstance(series, LongTable) else series
    if not isinstance(series, IrregularSeries):
        raise TypeError(
            "`series` must be IrregularSeries, of `irregular_series`, or a LongTable; got "
            f"{type(series).__name__}."
        )
    if not isinstance(step, Real):
        raise TypeError(f"`step` must be a number, in the unit of the times; got {step!r}.")
    if not 0 < step < np.inf:
        raise ValueError(f"`step` must be positive and finite, got {step}.")
    row, place, variable = np.nonzero(series.mask)
    if not len(row):
        raise ValueError("`series` must hold an observation, got none.")
    observed = series.times[row, place]
    with np.errstate(over="ignore"):
        number = observed / step
    # Three steps of 0.1 are 0.3, whatever the rounding.
    nearest = np.rint(number)
    near = 4 * np.finfo(series.times.dtype).eps * np.maximum(1.0, np.abs(number))
    with np.errstate(invalid="ignore"):
        begins = np.abs(number - nearest) <= near
    number = np.where(begins, nearest, np.floor(number))
    span = float(number.max()) - float(number.min()) + 1
    if not span <= _MOST:
        raise ValueError(
            f"`step` of {step} makes {span:.7g} steps from the first time to the last, more than "
            f"{_MOST}; give a longer step, in the unit of the times"
            + (f" ({series.time_unit})." if series.time_unit else ".")
        )
    number = number.astype(np.int64)
    first, count = number.min(), int(span)
    n_variables, each = len(series.variables), series.values.itemsize
    taken = too_much(len(series.ids), f"{count} steps", count, n_variables, len(row), each)
    if taken:
        raise ValueError(
            f"{taken}; give a longer `step`, or count the times of each series from its first."
        )
    values = np.full((len(series.ids), count, len(series.variables)), np.nan, series.values.dtype)
    # Observations come in the order of their times, and the last to be put there stays.
    values[row, number - first, variable] = series.values[row, place, variable]
    times = float(step) * np.arange(first, first + count, dtype=float)
    times[(number - first)[begins]] = observed[begins]
    return GriddedSeries(
        times,
        values,
        series.ids,
        series.variables,
        series.units,
        series.time_unit,
        series.targets,
    )
