"""What `SeriesModel` is given, as series on its own scale, and what it tells, as a long table."""

import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pullback import data
from pullback._location_scale import location_and_scale
from pullback.data import IrregularSeries, LongTable, MixedTable

from ._beside import beside
from ._frame import frame_of, is_file, is_frame
from ._series_asked import Known
from ._series_nets import SPAN

_COLUMNS = {"series": "series", "time": "time", "variable": "variable", "value": "value"}
_SINCE = " since 1970-01-01"
_FEWEST = 6  # series
_RARE = 5  # values of a variable, below which nothing is learned of it


class Scale(NamedTuple):
    """How series are brought to the model's scale.

    Attributes:
        variables: the names of those that the model is of.
        units: of them.
        time_unit: of the times.
        mean: of each variable.
        deviation: of each variable.
        span: what a usual series lasts, in the unit of the times.
    """

    variables: tuple[str, ...]
    units: tuple[str, ...]
    time_unit: str
    mean: Float[np.ndarray, " v"]
    deviation: Float[np.ndarray, " v"]
    span: float

    @classmethod
    def of(cls, train: IrregularSeries) -> "Scale":
        """That of series to train on."""
        maps = []
        for k in range(len(train.variables)):
            known = location_and_scale(train.values[:, :, k][train.mask[:, :, k]])
            maps.append((float(known.mean), float(known.scale)))
        mean, deviation = np.asarray(maps, np.float64).T
        spans = (train.times[:, -1] - train.times[:, 0]).astype(np.float64)
        span = float(np.quantile(spans[spans > 0], 0.9)) if (spans > 0).any() else 1.0
        return cls(train.variables, train.units, train.time_unit, mean, deviation, span)

    def apply(self, series: IrregularSeries) -> Known:
        """Series of these variables on the model's scale."""
        values = (series.values.astype(np.float64) - self.mean) / self.deviation
        times = series.times.astype(np.float64)
        return Known(
            SPAN / self.span * (times - times[:, :1]),
            np.where(series.mask, values, 0.0),
            np.asarray(series.mask),
        )

    def select(self, series: IrregularSeries) -> IrregularSeries:
        """The same series with the model's variables, in their order.

        A variable that they lack has no value; one that the model does not know is left out.

        Raises:
            ValueError: they have none of the variables, or another unit.
        """
        places = {name: k for k, name in enumerate(series.variables)}
        if not places.keys() & set(self.variables):
            raise ValueError(
                f"none of the variables of the model, {', '.join(self.variables)}, is in what is "
                f"given, which has {', '.join(series.variables)}."
            )
        for name, unit in [*zip(self.variables, self.units, strict=True), ("time", self.time_unit)]:
            got = series.time_unit if name == "time" else series.units[places[name]] if (
                name in places
            ) else unit  # fmt: skip
            if got != unit:
                raise ValueError(
                    f"{name} is in {got or 'no unit'}, and the model was fitted to it in "
                    f"{unit or 'no unit'}; convert it."
                )
        shape = (*series.times.shape, len(self.variables))
        values, mask = np.zeros(shape), np.zeros(shape, bool)
        for k, name in enumerate(self.variables):
            if name in places:
                values[:, :, k] = series.values[:, :, places[name]]
                mask[:, :, k] = series.mask[:, :, places[name]]
        return series._replace(values=values, mask=mask, variables=self.variables, units=self.units)


class SeriesTable(NamedTuple):
    """What a model tells of series: one row for each series, time and variable.

    Attributes:
        series: the name of each row's series, as it was written.
        time: in the unit of the times that were given; dates where dates were.
        variable: its name.
        part: "observed" where the value was known, else what was done: "imputed", "forecast" or
            "reconstructed".
        mean: in the variable's unit.
        lower: the lower end of the band.
        upper: its upper end.
        level: the probability that a value lies in the band.
        names: what the columns of series, time and variable are called.
    """

    series: np.ndarray
    time: np.ndarray
    variable: np.ndarray
    part: np.ndarray
    mean: Float[np.ndarray, " rows"]
    lower: Float[np.ndarray, " rows"]
    upper: Float[np.ndarray, " rows"]
    level: float | int
    names: tuple[str, str, str]

    def columns(self) -> dict[str, np.ndarray]:
        """The columns by name, in their order."""
        first = dict(zip(self.names, (self.series, self.time, self.variable), strict=True))
        told = {name: getattr(self, name) for name in ("part", "mean", "lower", "upper")}
        return beside(first, told)

    def to_frame(self) -> Any:
        """A data frame of pandas, where that is installed."""
        import pyarrow as pa

        return pa.table(self.columns()).to_pandas()


def read_series(X: Any, names: Mapping[str, Any]) -> LongTable:
    """A long table, a file of one, or series, with what the columns are called.

    Args:
        X: what a task is given.
        names: the names of columns, and what else `data.read_long` takes.
    """
    if isinstance(X, LongTable):
        return X
    if isinstance(X, IrregularSeries):
        return LongTable(X, _COLUMNS, X.variables, "the series", False)
    if not (isinstance(X, str | os.PathLike) or is_frame(X)):
        raise TypeError(
            "series must be a long table, its file, or `pb.data.IrregularSeries`; got a "
            f"{type(X).__name__}."
        )
    return data.long_table(X, origin="epoch", holes="ask", **names)


def usable(given: LongTable) -> tuple[IrregularSeries, dict[str, str], dict[str, Any]]:
    """Series with a value, of the variables that can be learned; why others are left out; and
    where all came from.
    """
    series, left_out = given.series, {}
    for k, name in enumerate(series.variables):
        values = series.values[:, :, k][series.mask[:, :, k]]
        if len(values) < _RARE:
            left_out[name] = f"it has {len(values)} values"
        elif location_and_scale(values).constant:
            left_out[name] = f"it is {values[0]:g} wherever it is known"
    kept = [name for name in series.variables if name not in left_out]
    if not kept:
        told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise ValueError(f"no variable can be learned ({told}).")
    series = series.select(kept)
    series = series.take(series.counts > 0).compact()
    if len(series.ids) < _FEWEST:
        raise ValueError(
            f"expected {_FEWEST} series or more, some of them to hold out; got "
            f"{len(series.ids)} with values."
        )
    digest = hashlib.sha256()
    for array in (series.times, series.values, series.mask):
        digest.update(np.ascontiguousarray(array).tobytes())
    return series, left_out, {
        "source": given.source, "rows": len(series.ids), "file": given.is_file,
        "sha256": digest.hexdigest(),
    }  # fmt: skip


def warn_of_unknown(series: IrregularSeries, known: Any) -> None:
    """Say which variables the model has never seen."""
    new = [name for name in series.variables if name not in known]
    if new:
        warnings.warn(
            f"left out, because the model was fitted without them: {', '.join(new)}.", UserWarning,
            stacklevel=4,
        )  # fmt: skip


def outcomes(
    y: Any, given: LongTable, ids: tuple[str, ...]
) -> tuple[list[Any], Int[np.ndarray, " s"]]:
    """The outcomes there are, and the place of each series' own; -1 where it is not known.

    Args:
        y: a mapping from series to outcome, a table or file with a column of series and one of
            outcomes, or an outcome of each series that was given.
        given: the series.
        ids: the names of those that were kept.
    """
    id_name = given.columns["series"]
    if isinstance(y, Mapping):
        _refuse_words(y.values())
        named = {str(name): label for name, label in y.items()}
    elif is_file(y) or is_frame(y):
        frame = _outcome_table(y)
        column = id_name if id_name in frame.names else frame.names[0]
        others = [name for name in frame.names if name != column]
        if len(others) != 1:
            raise ValueError(
                f"outcomes must have two columns, {column!r} and the outcome; {frame.source} has "
                f"{', '.join(frame.names)}."
            )
        written = [_as_text(cell) for cell in frame.column(column).tolist()]
        named = dict(zip(written, frame.column(others[0]).tolist(), strict=True))
    else:
        listed, all_ids = list(y), given.series.ids
        _refuse_words(listed)
        if len(listed) != len(all_ids):
            raise ValueError(
                f"`y` must have an outcome for each of {len(all_ids)} series, got {len(listed)}."
            )
        named = dict(zip(all_ids, listed, strict=True))
    found = [_label(named.get(name)) for name in ids]
    classes = sorted({label for label in found if label is not None}, key=str)
    if len(classes) < 2:
        raise ValueError(
            f"expected two or more outcomes; the series have {classes}. Are the names of the "
            "series the same in `y`?"
        )
    place = {label: k for k, label in enumerate(classes)} | {None: -1}
    return classes, np.asarray([place[label] for label in found])


def _outcome_table(y: Any) -> MixedTable:
    """A table whose columns are read as classes are."""
    if isinstance(y, MixedTable):
        return y
    if is_file(y):
        return data.read_mixed(y, labels=data.read_mixed(y).names)
    return frame_of(y, labels=[*map(str, y.columns)])


def _refuse_words(cells: Iterable[Any]) -> None:
    word = next((c for c in cells if isinstance(c, str) and c.strip() and data.is_hole(c)), None)
    if word is not None:
        raise ValueError(
            f"the outcome {word!r} may be a class that is called so, or one that is not known; "
            "write None for the latter, and call a class otherwise."
        )


def _label(cell: Any) -> Any:
    cell = cell.item() if isinstance(cell, np.generic) else cell
    if cell is None or cell != cell or cell == "":
        return None
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _as_text(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def with_times(series: IrregularSeries, asked: list[np.ndarray]) -> IrregularSeries:
    """The same series with more times, at which nothing is known."""
    grids = [
        np.union1d(times[grid], more)
        for times, grid, more in zip(series.times, series.on_grid, asked, strict=True)
    ]
    width = max(map(len, grids))
    shape = (len(grids), width, len(series.variables))
    times, values, mask = np.zeros(shape[:2]), np.zeros(shape), np.zeros(shape, bool)
    for row, grid in enumerate(grids):
        times[row] = grid[-1]
        times[row, : len(grid)] = grid
        own = series.on_grid[row]
        places = np.searchsorted(grid, series.times[row][own])
        values[row, places], mask[row, places] = series.values[row][own], series.mask[row][own]
    return series._replace(times=times, values=values, mask=mask)


def time_name(unit: str) -> str:
    """A blank and the unit of spans of time, where it is known."""
    return f" {unit.split(' ')[0]}" if unit else ""


def as_time(given: Any, unit: str) -> float:
    """A time that the user names, in the unit of the series' times.

    Raises:
        ValueError: it is no date where times are dates, or no number where they are such; or it has
            a zone where they have none, or none where they have.
    """
    if _SINCE not in unit:
        try:
            return float(given)
        except (TypeError, ValueError):
            raise ValueError(f"the times are numbers, and {given!r} is none.") from None
    try:
        moment = datetime.fromisoformat(given if isinstance(given, str) else given.isoformat())
    except (AttributeError, ValueError):
        raise ValueError(f"the times are dates, and {given!r} is none in ISO 8601.") from None
    zone = UTC if unit.endswith("Z") else None
    if (moment.tzinfo is None) != (zone is None):
        here, there = ("no zone", "one") if moment.tzinfo is None else ("a zone", "none")
        raise ValueError(f"{given!r} has {here}, and the times have {there}.")
    return (moment - datetime(1970, 1, 1, tzinfo=zone)).total_seconds() / _seconds(unit)


def _seconds(unit: str) -> float:
    return {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}[unit.split(" ")[0]]


def as_given(times: Float[np.ndarray, " n"], unit: str) -> np.ndarray:
    """Times as the user wrote them: numbers, or dates, in UTC where they had a zone."""
    if _SINCE not in unit:
        return times
    moments = np.round(times * _seconds(unit) * 1e6).astype("datetime64[us]")
    if not unit.endswith("Z"):
        return moments
    return np.asarray([moment.replace(tzinfo=UTC) for moment in moments.tolist()], object)


def table(
    given: LongTable,
    written: tuple[str, ...],
    series: IrregularSeries,
    which: Bool[np.ndarray, "s t v"],
    part: str,
    bands: tuple[np.ndarray, np.ndarray, np.ndarray],
    level: float | int,
) -> SeriesTable:
    """The chosen entries as rows; of those that are known the value is mean and band.

    Args:
        given: what the task was given.
        written: the names of the variables.
        series: times and values.
        which: the entries.
        part: what was done.
        bands: mean, lower and upper end.
        level: of the band.
    """
    row, time, variable = at = np.nonzero(which)
    known = series.mask[at] & (part != "reconstructed")
    mean, lower, upper = (np.where(known, series.values[at], band[at]) for band in bands)
    ids = series.ids
    named: Any = list(map(int, ids)) if all(map(_PLAIN.fullmatch, ids)) else list(ids)
    names = (given.columns["series"], given.columns["time"], given.columns["variable"])
    return SeriesTable(
        np.asarray(named, None if isinstance(named[0], int) else object)[row],
        as_given(series.times[row, time].astype(np.float64), series.time_unit),
        np.asarray(written, object)[variable],
        np.where(known, "observed", part).astype(object),
        mean,
        lower,
        upper,
        level,
        names,
    )


_PLAIN = re.compile(r"-?[1-9][0-9]{0,17}|0")
