"""Measured trajectories, read from arrays, wide and long tables."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from pullback._names import check_list
from pullback.data import IrregularSeries, MixedTable, looks_like_dates

from ._frame import frame_of, is_file, is_frame

_TIMES = ("t", "time", "times")
_SERIES = (
    "series", "series_id", "id", "trajectory", "run", "subject", "patient", "experiment", "sample",
)  # fmt: skip
_LONG = ("variable", "value")
_MOST_BYTES = 1 << 30  # of the states of a long table


class Trajectory(NamedTuple):
    """One path, at rising times.

    Attributes:
        name: of the path.
        ts: times.
        ys: states, NaN where a column was not measured.
    """

    name: str
    ts: Float[np.ndarray, " n"]
    ys: Float[np.ndarray, "n d"]


class Measured(NamedTuple):
    """Trajectories, and what they are of.

    Attributes:
        paths: those with two times or more.
        columns: the names of the states.
        time: the name of the times.
        series: the name of the column that tells trajectories apart, or None.
        source: the name of the file, or what else they came from.
        rows: how many rows were given.
        is_file: whether they came from one.
        notes: what was done, in sentences.
        left_out: of each column that was not taken, why.
    """

    paths: tuple[Trajectory, ...]
    columns: tuple[str, ...]
    time: str
    series: str | None
    source: str
    rows: int
    is_file: bool
    notes: list[str]
    left_out: dict[str, str]


def read_trajectories(
    x: Any,
    y: Any = None,
    *,
    time: str | None = None,
    columns: Sequence[str] | None = None,
    series: str | None = None,
) -> Measured:
    """Trajectories of times and states, of a table, or of irregular series.

    Raises:
        ValueError: what is given holds no trajectory; the message says why.
    """
    if isinstance(x, IrregularSeries):
        return _of_series(x)
    if y is not None:
        return _of_arrays(x, y)
    if is_file(x) or is_frame(x):
        return _of_table(x, time, columns, series)
    table = _floats(x)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(
            "give `fit(ts, ys)` arrays of times and of states, a table, or an array of which the "
            f"first column holds the times; got an array of shape {list(table.shape)}."
        )
    return _of_arrays(table[:, 0], table[:, 1:])


def _of_arrays(ts: Any, ys: Any) -> Measured:
    many = isinstance(ts, list | tuple) and len(ts) > 0 and np.ndim(ts[0]) == 1
    all_ts = [_floats(t) for t in (ts if many else [ts])]
    if len(all_ts) == 1 and all_ts[0].ndim == 1 and np.ndim(ys) == 3:  # of one grid of times
        all_ts = [all_ts[0]] * len(ys)
        many = True
    all_ys = [_floats(y) for y in (ys if many else [ys])]
    if len(all_ts) != len(all_ys):
        raise ValueError(f"`ts` has {len(all_ts)} trajectories, and `ys` {len(all_ys)}.")
    all_ys = [y[:, None] if y.ndim == 1 else y for y in all_ys]
    for number, (t, y) in enumerate(zip(all_ts, all_ys, strict=True)):
        if t.ndim != 1 or y.ndim != 2 or len(t) != len(y) or y.shape[1] != all_ys[0].shape[1]:
            raise ValueError(
                "`ts` must have shape [n] and `ys` [n, d], or be lists of such; trajectory "
                f"{number + 1} has {list(t.shape)} and {list(y.shape)}."
            )
    names = tuple(f"x{k + 1}" for k in range(all_ys[0].shape[1]))
    paths = [
        (str(number + 1), t, y) for number, (t, y) in enumerate(zip(all_ts, all_ys, strict=True))
    ]
    return _measured(paths, names, "t", "series" if many else None, "the arrays", False, {})


def _floats(array: Any) -> np.ndarray:
    """Numbers; dates and durations would be counted in the unit of their type, whatever it is."""
    given = np.asarray(array)
    if given.dtype.kind in "mM":
        what, first = ("dates", " - ts[0]") if given.dtype.kind == "M" else ("durations", "")
        raise ValueError(
            f"trajectories must be numbers, got {what} ({given.dtype}); say in which unit, such as "
            f"hours: (ts{first}) / np.timedelta64(1, 'h')."
        )
    return given.astype(np.float64)


def _of_series(series: IrregularSeries) -> Measured:
    paths = []
    for number, name in enumerate(series.ids):
        seen = series.mask[number].any(axis=1)
        values = np.where(series.mask[number], series.values[number], np.nan)
        paths.append((str(name), series.times[number][seen], values[seen]))
    return _measured(paths, tuple(series.variables), "time", "series", "the series", False, {})


def _of_table(
    x: Any, time: str | None, columns: Sequence[str] | None, series: str | None
) -> Measured:
    frame = frame_of(x)
    time = _named(frame, "time", time, _TIMES)
    if time is None:
        raise ValueError(
            f"no column of {frame.source} is called t or time; say which holds the times by "
            f"`time` (on the command line --time). It has {', '.join(frame.names)}."
        )
    series = _named(frame, "series", series, _SERIES)
    ts = _numbers(frame, time)
    groups = np.zeros(len(ts), np.int64)
    named: list[str] = ["all"]
    if series is not None:
        labels = [_label(cell) for cell in frame.column(series).tolist()]
        named = list(dict.fromkeys(labels))
        place = {name: number for number, name in enumerate(named)}
        groups = np.asarray([place[label] for label in labels], np.int64)
    check_list("columns", columns)
    if columns is None and set(_LONG) <= set(frame.names):
        names, ys, left_out = _spread_out(frame)
    else:
        names, ys, left_out = _states(frame, columns, {time, series})
    for column, name in zip(ys.T, names, strict=True):
        _refuse_infinite(frame, name, column)
    rows = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    paths = [(name, ts[own], ys[own]) for name, own in zip(named, rows, strict=False)]
    found = _measured(paths, names, time, series, frame.source, is_file(x), left_out)
    back = int((np.diff(ts[~np.isnan(ts)]) < 0).sum())
    if series is None and 0 < back < len(ts) // 4:
        found.notes.append(
            f"The times go back {back} times from one row to the next, and all were taken for one "
            "trajectory; if they are several, name the column that tells them apart by `series` "
            "(on the command line --series)."
        )
    return found


def _label(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _named(frame: MixedTable, role: str, asked: str | None, usual: Sequence[str]) -> str | None:
    if asked is not None:
        if asked not in frame.names:
            raise ValueError(
                f"{frame.source} has no column {asked!r} for the {role}; it has "
                f"{', '.join(frame.names)}."
            )
        return asked
    found = [name for name in frame.names if name.strip().lower() in usual]
    return min(found, key=lambda name: usual.index(name.strip().lower())) if found else None


def _numbers(frame: MixedTable, name: str) -> Float[np.ndarray, " rows"]:
    column = frame.column(name)
    if column.dtype == object:
        what = "dates" if looks_like_dates(column) else "text"
        raise ValueError(
            f"column {name!r} of {frame.source} is {what}, and must be numbers; of dates take, "
            "say, the days from the first."
        )
    _refuse_infinite(frame, name, column)
    return column


def _refuse_infinite(frame: MixedTable, name: str, column: np.ndarray) -> None:
    bad = np.flatnonzero(np.isinf(column))
    if len(bad):
        raise ValueError(f"column {name!r} has an infinity in row {frame.rows[bad[0]]}.")


def _states(
    frame: MixedTable, asked: Sequence[str] | None, others: set[str | None]
) -> tuple[tuple[str, ...], Float[np.ndarray, "rows d"], dict[str, str]]:
    left_out = {}
    if asked is None:
        names = [name for name in frame.names if name not in others]
        for name in names:
            column = frame.column(name)
            if column.dtype == object or np.isnan(column).all():
                left_out[name] = "text" if column.dtype == object else "it is empty"
        names = [name for name in names if name not in left_out]
    else:
        names = [*map(str, asked)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"`columns` names {name!r} twice.")
            if name not in frame.names or name in others:
                raise ValueError(
                    f"`columns` names {name!r}, which is no state of {frame.source}; it has "
                    f"{', '.join(name for name in frame.names if name not in others)}."
                )
    if not names:
        raise ValueError(f"{frame.source} has no column of numbers beside its times.")
    return tuple(names), np.stack([_numbers(frame, name) for name in names], axis=1), left_out


def _spread_out(
    frame: MixedTable,
) -> tuple[tuple[str, ...], Float[np.ndarray, "rows d"], dict[str, str]]:
    """The values of a long table, each in the column of its variable."""
    labels = [_label(cell) for cell in frame.column("variable").tolist()]
    place = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    needed = 8 * len(labels) * len(place)
    if needed > _MOST_BYTES:
        raise ValueError(
            f"the column 'variable' of {frame.source} has {len(place)} different names in "
            f"{len(labels)} rows, whose states would take {needed / 2**30:.3g} GiB. Leave the "
            "rows of the variables that you do not need out."
        )
    ys = np.full((len(labels), len(place)), np.nan)
    ys[np.arange(len(labels)), [place[label] for label in labels]] = _numbers(frame, "value")
    return tuple(place), ys, {}


def _measured(
    paths: Sequence[tuple[str, np.ndarray, np.ndarray]],
    columns: tuple[str, ...],
    time: str,
    series: str | None,
    source: str,
    is_file: bool,
    left_out: dict[str, str],
) -> Measured:
    """Rows in order, those of one time as their mean; paths that are none left out."""
    kept, notes, untimed, empty, repeated, short = [], [], 0, 0, 0, []
    rows = sum(len(ts) for _, ts, _ in paths)
    for name, ts, ys in paths:
        if np.isinf(ts).any() or np.isinf(ys).any():
            raise ValueError(f"trajectory {name} has an infinity; leave that row out.")
        timed, seen = ~np.isnan(ts), ~np.isnan(ys).all(axis=1)
        untimed, empty = untimed + int((~timed).sum()), empty + int((timed & ~seen).sum())
        ts, ys = ts[timed & seen], ys[timed & seen]
        times, place = np.unique(ts, return_inverse=True)
        means = np.full((len(times), len(columns)), np.nan)
        for j, column in enumerate(ys.T):
            there = ~np.isnan(column)
            count = np.bincount(place[there], minlength=len(times))
            total = np.bincount(place[there], column[there], minlength=len(times))
            means[count > 0, j] = total[count > 0] / count[count > 0]
            repeated += int(np.maximum(count - 1, 0).sum())
        if len(times) < 2 or ((~np.isnan(means)).sum(axis=0) < 2).any():
            short.append(name)
        else:
            kept.append(Trajectory(name, times, means))
    if untimed:
        notes.append(f"{untimed} of {rows} rows have no time and were left out.")
    if empty:
        notes.append(f"{empty} of {rows} rows have no state and were left out.")
    if repeated:
        notes.append(
            f"{repeated} values repeat the time of another of their trajectory; their mean was "
            "taken."
        )
    if short:
        first = ", ".join(short[:5])
        notes.append(
            f"{len(short)} trajectories were left out, for some column has fewer than two times; "
            f"the first are {first}."
        )
    if left_out:
        told = "; ".join(f"{name} ({why})" for name, why in left_out.items())
        notes.append(f"Columns left out: {told}.")
    if not kept or max(len(path.ts) for path in kept) < 3:
        raise ValueError(
            f"{source}: expected a trajectory of three times or more at which its columns were "
            f"measured; got {rows} rows of {len(paths)} trajectories."
        )
    return Measured(tuple(kept), columns, time, series, source, rows, is_file, notes, left_out)
