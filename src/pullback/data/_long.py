"""Irregular series from a table with one row an observation."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback._names import shown
from pullback.data._cells import (
    BadRows,
    Names,
    Variables,
    numbers,
    split_unit,
)
from pullback.data._dates import Times, check_time_format
from pullback.data._errors import DataError
from pullback.data._holes import is_hole
from pullback.data._irregular import IrregularSeries
from pullback.data._pack import Entries, average, order, pack
from pullback.data._parts import Part, parts
from pullback.data._roles import check_apart, needed_place, place_of
from pullback.data._sources import Source, frame_source, is_data_frame, open_source

_ORIGINS = ("series", "first", "epoch")
_ON_DUPLICATE = ("error", "mean", "last")
_HOLES = ("error", "ask")
_MICROSECONDS = {"s": 1e6, "min": 6e7, "h": 3.6e9, "d": 8.64e10}
_CALLED = {
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "d": "day days",
}
_USUAL = {
    "series": "series series_id seriesid id subject subject_id patient patient_id patientid "
    "record record_id recordid sample sample_id",
    "time": "time times timestamp datetime date date_time",
    "variable": "variable variable_name parameter feature channel signal sensor metric",
    "value": "value values val measurement reading",
    "unit": "unit units",
}


class _Places(NamedTuple):
    """Which column holds what; `unit` is None where there is no such column."""

    series: int
    time: int
    variable: int
    value: int
    unit: int | None


def read_long(
    path: Any,
    *,
    series: str | None = None,
    time: str | None = None,
    variable: str | None = None,
    value: str | None = None,
    unit: str | None = None,
    time_unit: str | None = None,
    time_format: str | None = None,
    origin: str = "series",
    on_duplicate: str = "error",
    holes: str = "error",
    decimal: str | None = None,
) -> IrregularSeries:
    """Read irregular series from a long table: one row says series, time, variable and value.

    Rows may come in any order. A unit is taken from a column of units, from a variable that is
    called "name [unit]", or from the header of the values, "value [unit]"; the times' unit from
    their header, "time [h]". Times are numbers, or dates and times in ISO 8601 or as `time_format`
    says, which become numbers from an origin on.

    Args:
        path: a CSV file with a header, in UTF-8, separated by commas, semicolons or tabs; or a
            Parquet file, `.parquet` or `.pq`; or a data frame of pandas or polars.
        series: the name of the column with the series, its unit left out; so for the next four.
            None: the one column with a usual name, such as series, id, subject or patient. What
            stands in it is a name, NA too, unless it is empty.
        time: the column with the times. None: as above, such as time, timestamp or date.
        variable: the column with the variables' names, NA too. None: such as variable or parameter.
        value: the column with the numbers. None: such as value or measurement.
        unit: the column with the units. None: unit or units, if there is one.
        time_unit: of numbers, their unit, where the header does not say it; of dates, the unit to
            turn them into: "s", "min", "h" or "d", where None means that of the header, else "h".
        time_format: how dates are written that are not in ISO 8601, as `datetime.strptime` has it,
            such as "%d.%m.%Y %H:%M"; or "number" for numbers that look like dates, as 20240131.
        origin: what dates are counted from: "series" is the first time of each series, "first"
            the first of all, "epoch" 1970, which the unit then says ("h since 1970-01-01", and
            "T00:00Z" behind it where dates have a zone). Numbers stay as they are.
        on_duplicate: where one variable of one series has several values at one time: "error",
            "mean" takes their mean, "last" the one that stands last in the file.
        holes: what a row is whose value is empty, NA, NaN, null, none or a question mark: "error",
            or "ask", a time at which nothing was observed, as where a model is to be asked.
        decimal: the sign before fractions, "." or ","; None: whichever a CSV file shows that is
            separated by semicolons or tabs, and else the point.

    Returns:
        Series and variables in the order in which they first come, as float64, without targets.

    Raises:
        ValueError: an option is none of those above.
        DataError: the file cannot be read; a column is missing, or several have a usual name; or
            there are bad rows: a cell too many or too few, an empty cell, a value or time that is
            no finite number or no date, dates with and without a zone, a variable in two units, a
            duplicate. The message gives the line (of Parquet the row, from 1) and the reason for
            the first 20, and counts them up to 1000. No row is ever left out.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "ward.csv"
        >>> _ = file.write_text(
        ...     "patient,time [h],parameter,value\\n"
        ...     "A,0,Temp [degC],36.6\\nA,0,HR [1/min],70\\nA,1.5,Temp [degC],36.9\\n"
        ... )
        >>> ward = read_long(file)
        >>> ward.times, ward.time_unit, ward.variables, ward.units
        (array([[0. , 1.5]]), 'h', ('Temp', 'HR'), ('degC', '1/min'))
    """
    return long_table(
        path,
        series=series,
        time=time,
        variable=variable,
        value=value,
        unit=unit,
        time_unit=time_unit,
        time_format=time_format,
        origin=origin,
        on_duplicate=on_duplicate,
        holes=holes,
        decimal=decimal,
    ).series


class LongTable(NamedTuple):
    """A long table that was read.

    Attributes:
        series: what it holds.
        columns: what its columns are called, by what they hold: series, time, variable, value, and
            unit where there is one.
        written: the variables as they stand in it, with a unit that stands there.
        source: the name of the file, or what else it was.
        is_file: whether it was one.
    """

    series: IrregularSeries
    columns: dict[str, str]
    written: tuple[str, ...]
    source: str
    is_file: bool


def long_table(
    path: Any,
    *,
    series: str | None = None,
    time: str | None = None,
    variable: str | None = None,
    value: str | None = None,
    unit: str | None = None,
    time_unit: str | None = None,
    time_format: str | None = None,
    origin: str = "series",
    on_duplicate: str = "error",
    holes: str = "error",
    decimal: str | None = None,
) -> LongTable:
    """As `read_long`, and what the columns are called."""
    _check_option("origin", origin, _ORIGINS)
    _check_option("on_duplicate", on_duplicate, _ON_DUPLICATE)
    _check_option("holes", holes, _HOLES)
    check_time_format(time_format)
    is_frame = is_data_frame(path)
    source = frame_source(path) if is_frame else open_source(Path(path), decimal=decimal)
    path = Path(f"the {type(path).__name__}") if is_frame else Path(path)
    wanted = {"series": series, "time": time, "variable": variable, "value": value, "unit": unit}
    places = _find(path, source.names, wanted)
    bad = BadRows(path, source.word, decimal=source.decimal)
    ids = Names(source.names[places.series])
    variables = Variables(source.names[places.variable], split_unit(source.names[places.value])[1])
    when = Times(source.names[places.time], time_format, bad)
    entries, rows = _read(source, places, ids, variables, when, holes == "ask")
    dated = bool(when.dated)
    if not len(rows) and not bad.problems:
        raise DataError(path, "expected rows after the header; there is none.")
    entries = _once(entries, rows, ids, variables, on_duplicate, when)
    bad.check()
    unit_of_time = _time_unit(path, time_unit, split_unit(source.names[places.time])[1], dated)
    if dated:
        entries = _since(path, entries, len(ids.names), origin, unit_of_time)
    if dated and origin == "epoch":
        unit_of_time += " since 1970-01-01" + "T00:00Z" * when.zoned
    names = tuple(ids.names)
    try:
        times, values, mask = pack(entries, len(names), len(variables.units), names)
    except ValueError as error:
        raise DataError(path, str(error)) from None
    if holes == "ask":
        known = ~np.isnan(values)
        values, mask = np.where(known, values, 0.0), mask & known
    found = IrregularSeries(
        times,
        values,
        mask,
        names,
        tuple(variables.units),
        tuple(variables.units.values()),
        unit_of_time,
        None,
    )
    called = {role: source.names[at] for role, at in places._asdict().items() if at is not None}
    return LongTable(found, called, tuple(variables.written), path.name, not is_frame)


def _find(path: Path, names: tuple[str, ...], wanted: dict[str, str | None]) -> _Places:
    needed = {
        role: needed_place(path, names, role, wanted[role], _USUAL[role])
        for role in ("series", "time", "variable", "value")
    }
    places = _Places(**needed, unit=place_of(path, names, "unit", wanted["unit"], _USUAL["unit"]))
    check_apart(path, names, places._asdict())
    return places


def _check_option(argument: str, got: str, known: tuple[str, ...]) -> None:
    if got not in known:
        raise ValueError(f"`{argument}` must be one of {', '.join(known)}; got {got!r}.")


def _read(
    source: Source, places: _Places, ids: Names, variables: Variables, when: Times, ask: bool
) -> tuple[Entries, Int[np.ndarray, " n"]]:
    """The rows that are not bad, and their numbers."""
    when.tell(source, places.time)
    # Dates are no numbers, as which Arrow would read them in vain.
    numeric = [places.value] if when.dated else [places.time, places.value]
    bad, others = when.bad, [places.series, places.variable]
    others += [places.time] if when.dated else []
    others += [] if places.unit is None else [places.unit]
    found, numbers_of_rows = [], []
    for part in parts(source, numeric, others, bad):
        time = when.read(part, places.time)
        none = [""], np.zeros(len(part.rows), np.int64)
        units = none if places.unit is None else part.coded(places.unit)
        entries = Entries(
            ids.coded(*part.coded(places.series), part.rows, bad),
            time,
            variables.coded(*part.coded(places.variable), *units, part.rows, bad),
            _values(part, places.value, source.names[places.value], bad, ask),
        )
        whole = ~np.isin(part.rows, list(bad.problems)) if bad.problems else slice(None)
        found.append(entries.take(whole))
        numbers_of_rows.append(part.rows[whole])
        bad.check(at_end=False)
    if not found:
        none = np.zeros(0, np.int64)
        return Entries(none, np.zeros(0), none, np.zeros(0)), none
    joined = Entries(*(np.concatenate(column) for column in zip(*found, strict=True)))
    return joined, np.concatenate(numbers_of_rows)


def _values(
    part: Part, place: int, column: str, bad: BadRows, ask: bool
) -> Float[np.ndarray, " n"]:
    """The values; NaN where a row has none and may."""
    if not ask:
        return part.numbers(place, column, bad)
    found = part.floats(place)
    if found is not None:
        if not np.isnan(found).all():
            bad.with_numbers.add(column)
        return found
    cells, rows = part.cells(place), part.rows.tolist()
    known = [at for at, cell in enumerate(cells) if not is_hole(cell)]
    found = np.full(len(cells), np.nan)
    if known:
        found[known] = numbers([cells[at] for at in known], [rows[at] for at in known], column, bad)
    return found


def _once(
    entries: Entries,
    rows: Int[np.ndarray, " n"],
    ids: Names,
    variables: Variables,
    on_duplicate: str,
    when: Times,
) -> Entries:
    """Ordered entries, one a place."""
    if on_duplicate == "mean" and not when.cut:
        return average(entries)
    bad = when.bad
    by_place, same = order(entries)
    if when.cut and on_duplicate != "error" and same.any():
        row = int(rows[by_place[np.flatnonzero(same)[0]]])
        raise DataError(
            bad.path,
            f"the times in column {shown(when.column)} have nanoseconds, and are kept to the "
            f"microsecond, where that on {bad.word} {row} is that of another row too; round them "
            "to microseconds, or write numbers from a nearer origin.",
            line=row if bad.word == "line" else None,
        )
    if on_duplicate == "mean":
        return average(entries)
    if on_duplicate == "last":
        last = np.append(~same[1:], np.ones(min(1, len(same)), bool))
        return entries.take(by_place[last])
    names, called = list(ids.names), list(variables.units)
    kept = ", of which the microseconds count," if when.cut else ""
    repeated = np.flatnonzero(same)
    for at in repeated[np.argsort(rows[by_place[repeated]])].tolist():
        row, before = rows[by_place[at]], rows[by_place[at - 1]]
        series = names[entries.series[by_place[at]]]
        name = called[entries.variable[by_place[at]]]
        bad.add(
            int(row),
            f"series {shown(series)} has a value of {shown(name)} at this time{kept} on "
            f"{bad.word} {before} too; on_duplicate='mean' or 'last' would settle it.",
        )
        bad.check(at_end=False)
    return entries.take(by_place)


def _time_unit(path: Path, given: str | None, header: str, dated: bool) -> str:
    if not dated:
        if given is not None and header not in ("", given):
            problem = f"`time_unit` is {given!r}, but the header says {shown(header)}."
            raise DataError(path, problem)
        return header if given is None else given
    if given is not None:
        _check_option("time_unit", given, tuple(_MICROSECONDS))
        return given
    called = header.lower()
    units = [unit for unit, names in _CALLED.items() if called == unit or called in names.split()]
    if header and not units:
        raise DataError(
            path,
            f"the times are dates, which cannot be counted in {shown(header)}, the unit in their "
            "header; say time_unit='h', or 's', 'min' or 'd', or write that in the header: "
            "'time [h]'.",
        )
    return units[0] if units else "h"


def _since(path: Path, entries: Entries, n_series: int, origin: str, unit: str) -> Entries:
    """Microseconds as a time in `unit`, from the first of each series or of all."""
    first = np.full(n_series, 0 if origin == "epoch" else entries.time.min())
    if origin == "series":
        first = np.full(n_series, np.iinfo(np.int64).max)
        np.minimum.at(first, entries.series, entries.time)
    time = (entries.time - first[entries.series]) / _MICROSECONDS[unit]
    apart = (np.diff(entries.series) == 0) & (np.diff(entries.time) > 0)
    if (apart & ~(np.diff(time) > 0)).any():
        raise DataError(
            path,
            f"two times become the same when counted in {unit!r} from so far; use a shorter "
            "`time_unit`, or origin='series'.",
        )
    return entries._replace(time=time)
