"""Irregular series on the scale that networks like, and the way back."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pullback._location_scale import location_and_scale
from pullback._times import cast_times
from pullback.data._irregular import IrregularSeries
from pullback.data._standardise import Scaler, check_finite

_METHODS = ("standardise", "min-max")


class SeriesScaler(NamedTuple):
    """The affine maps of the times and of each variable, and the units they lead back to.

    Attributes:
        times: of the times; its numbers are scalars.
        values: of the variables, `[variable]`. A predicted mean in the user's units is
            `values.undo(mean)`, and a predicted standard deviation `deviation * values.scale`.
        units: the units of the variables before the map.
        time_unit: the unit of the times before the map.
    """

    times: Scaler
    values: Scaler
    units: tuple[str, ...]
    time_unit: str

    def apply(self, series: IrregularSeries) -> IrregularSeries:
        """Series in the user's units, rescaled.

        Raises:
            ValueError: the units or the time unit are not those that the maps were made for.
        """
        if (series.units, series.time_unit) != (self.units, self.time_unit):
            raise ValueError(
                f"`series` must have the units {self.units} and the time unit "
                f"{self.time_unit!r}, got {series.units} and {series.time_unit!r}."
            )
        plain = ("",) * len(series.units)
        seen = np.where(series.mask, series.values, self.values.mean)
        values = np.where(series.mask, self.values.apply(seen), 0)
        return _with(series, self.times.apply(_exact(series.times)), values, plain, "")

    def undo(self, series: IrregularSeries) -> IrregularSeries:
        """Rescaled series, back in the user's units."""
        values = np.where(series.mask, self.values.undo(series.values), 0)
        return _with(
            series, self.times.undo(_exact(series.times)), values, self.units, self.time_unit
        )


def rescale_series(
    train: IrregularSeries, *others: IrregularSeries, method: str = "standardise"
) -> tuple[tuple[IrregularSeries, ...], SeriesScaler]:
    """Bring times to [0, 1] and each variable to a common scale, by the training set's numbers.

    Args:
        train: the series that the maps are made from; only what was observed counts.
        *others: further series, which get the same maps: no held-out number leaks into them, and
            their times and values may lie outside the range of the training set.
        method: "standardise": mean 0 and standard deviation 1; "min-max": least value 0 and
            greatest 1.

    Returns:
        All the sets, rescaled, in the order given, with no units; and the maps. A variable whose
        numbers are all the same is only shifted, to 0.

    Raises:
        ValueError: `method` is unknown, a variable is never observed in `train`, all its times are
            the same, another set has other variables or units, an observed value is NaN or
            infinite, or a range is more than the dtype holds.

    Example:
        >>> import numpy as np
        >>> from pullback.data import irregular_series
        >>> series = irregular_series([([0.0, 12.0], [36.5, 38.5])], units=["degC"], time_unit="h")
        >>> (scaled,), scaler = rescale_series(series)
        >>> scaled.times, scaled.values[0, :, 0]
        (array([[0., 1.]]), array([-1.,  1.]))
        >>> scaler.values.undo(np.array([0.0])), scaler.undo(scaled).units
        (array([37.5]), ('degC',))
    """
    if method not in _METHODS:
        raise ValueError(f"`method` must be one of {', '.join(_METHODS)}; got {method!r}.")
    for number, other in enumerate(others):
        if other.variables != train.variables:
            raise ValueError(
                f"every set must have the variables of `train`, {train.variables}; the set after "
                f"it number {number + 1} has {other.variables}."
            )
    observed = train.mask.any(axis=(0, 1))
    if not observed.all():
        never = ", ".join(repr(train.variables[k]) for k in np.flatnonzero(~observed))
        raise ValueError(f"`train` has no observation of the variables {never}.")
    first, last = train.times.min(), train.times.max()
    if first == last:
        raise ValueError(f"`train` must have more than one time, got only {first}.")
    for number, series in enumerate((train, *others)):
        seen = np.where(series.mask, series.values, 0)
        check_finite(f"the observed values of set {number}" if number else "`train`", seen)
    dtype, maps = train.values.dtype, []
    for k, name in enumerate(train.variables):
        column = train.values[:, :, k][train.mask[:, :, k]]
        known = location_and_scale(column)
        maps.append((known.mean, known.scale))
        if method == "min-max":
            maps[-1] = (column.min(), 1.0 if known.constant else _range(name, column))
    values = Scaler(*np.asarray(maps, dtype).T)
    times = Scaler(np.asarray(first), np.asarray(last - first))
    scaler = SeriesScaler(times, values, train.units, train.time_unit)
    return tuple(scaler.apply(series) for series in (train, *others)), scaler


def _range(variable: str, column: Float[np.ndarray, " n"]) -> float:
    half = column.max() / 2 - column.min() / 2
    if half > np.finfo(column.dtype).max / 2:
        raise ValueError(
            f"the range of variable {variable!r}, from {column.min()} to {column.max()}, is more "
            f"than {column.dtype} holds; use method='standardise', or another unit."
        )
    return float(np.ptp(column))


def _exact(times: np.ndarray) -> np.ndarray:
    return times.astype(np.float64)


def _with(
    series: IrregularSeries,
    times: np.ndarray,
    values: np.ndarray,
    units: tuple[str, ...],
    time_unit: str,
) -> IrregularSeries:
    return series._replace(
        times=cast_times("`series.times`", times, series.times.dtype),
        values=values.astype(series.values.dtype),
        units=units,
        time_unit=time_unit,
    )
