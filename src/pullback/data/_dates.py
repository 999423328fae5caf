"""The times of a file: numbers, dates in ISO 8601, or dates as a pattern of the user's says."""

import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import product

import numpy as np
from jaxtyping import Float, Int

from pullback._names import shown
from pullback.data._cells import BadRows, is_missing, text_of
from pullback.data._csv import is_rounded
from pullback.data._errors import DataError
from pullback.data._parts import Part, parts
from pullback.data._sources import Source

NUMBER = "number"  # the pattern of times that are no dates, whatever they look like
_ON_THE_LINE = "on the command line --time-format"
_FIRST = 2048  # cells that tell what a column is
_LONGEST = 60  # letters of a date
_PROBE = datetime(2023, 11, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1)
_WHOLE = 2.0**53  # from here on two whole numbers may be one float64
_TOO_LONG = (
    "has more digits than float64 keeps; count times from a nearer origin or in a larger unit, or "
    "write dates."
)
# Numbers that are dates too, by how many digits they have.
_DIGITS = re.compile(r"(19|20)\d{4,12}")
_OF_DIGITS = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?")
_DAYS = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d %Y",
    "%b %d, %Y", "%B %d %Y", "%B %d, %Y", "%d. %B %Y", "%m/%Y", "%m.%Y", "%Y/%m", "%b %Y", "%Y%m%d",
)  # fmt: skip
_HOURS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%H:%M:%S,%f")
_ZONES = ("", " UTC", " GMT", "%z", " %z")
_PARTS = re.compile(r"(.+?)(?:(, |[ T])(\d{1,2}:\d{2}.*))?")  # day, what is between, and hour


def check_time_format(time_format: object) -> None:
    """Raise for what is no pattern of a date."""
    if time_format is None or time_format == NUMBER:
        return
    wants = "a pattern of strptime for dates, such as '%d.%m.%Y %H:%M', or 'number'"
    if not isinstance(time_format, str):
        raise TypeError(f"`time_format` must be {wants}; got {type(time_format).__name__}.")
    try:
        again = datetime.strptime(_PROBE.strftime(time_format), time_format)
    except ValueError as error:
        told = f"of {shown(time_format)}, {str(error)[:100]}"
        raise ValueError(f"`time_format` must be {wants}; {told}.") from None
    if again.date() != _PROBE.date():
        raise ValueError(
            f"`time_format` must be {wants}, and say year and month; {shown(time_format)} does not."
        )


class Times:
    """A column of times as it is read.

    What they are is told by the pattern, or else by the first of them.

    Attributes:
        dated: whether they are dates; None before there was one.
        zoned: whether the dates have a zone.
        cut: whether one says more than microseconds, which are all that count.
    """

    def __init__(self, column: str, time_format: str | None, bad: BadRows) -> None:
        self.column, self.bad = column, bad
        self.dated: bool | None = None
        self.zoned = False
        self.cut = False
        self._number = time_format == NUMBER
        self._pattern = None if self._number else time_format

    def tell(self, source: Source, place: int) -> None:
        """Look at what the first rows have, before all are read."""
        scratch = BadRows(self.bad.path, self.bad.word, decimal=source.decimal)
        for part in parts(source, [], [place], scratch):
            self._tell(part.cells(place), part.rows)
            return

    def read(self, part: Part, place: int) -> Float[np.ndarray, " n"] | Int[np.ndarray, " n"]:
        """Numbers; or of dates the microseconds since 1970, in UTC if they have a zone.

        A bad row has NaN, or 0.
        """
        if self.dated is None:
            self._tell(part.cells(place), part.rows)
        if not self.dated:
            return self._numbers(part, place)
        found = part.moments(place, self.zoned) if self._pattern is None else None
        # Text that Arrow reads as microseconds has no more.
        if not self.cut and (found is None or not part.is_text(place)):
            self.cut = part.has_nanoseconds(place)
        return self._moments(part, place) if found is None else found

    def _numbers(self, part: Part, place: int) -> Float[np.ndarray, " n"]:
        found = part.numbers(place, self.column, self.bad)
        long = np.flatnonzero(~(np.abs(found) < _WHOLE)).tolist()
        cells = part.cells(place) if long else []
        for row in long:
            if is_rounded(cells[row]) or not np.isnan(found[row]):
                problem = f"{shown(cells[row])} in column {self._name()} {_TOO_LONG}"
                self.bad.replace(self.column, int(part.rows[row]), problem)
        return found

    def _moments(self, part: Part, place: int) -> Int[np.ndarray, " n"]:
        cells, index = part.coded(place)
        known, wrong = np.zeros(len(cells), np.int64), dict[int, str]()
        epoch = _EPOCH.replace(tzinfo=UTC) if self.zoned else _EPOCH
        for at, cell in enumerate(cells):
            moment = self._moment(cell)
            if moment is None:
                text = text_of(cell)
                got = f"got {shown(text)}" if text else "the cell is empty"
                wrong[at] = f"expected {self._wanted()} in column {self._name()}; {got}."
            elif (moment.tzinfo is not None) != self.zoned:
                here, first = ("no zone", "one") if self.zoned else ("a zone", "none")
                when = f"{text_of(cell)} in column {self._name()}"
                wrong[at] = f"{when} has {here}; the first time has {first}."
            else:
                known[at] = (moment - epoch) // _MICROSECOND
        if wrong:
            for row in np.flatnonzero(np.isin(index, list(wrong))).tolist():
                self.bad.add(int(part.rows[row]), wrong[int(index[row])])
        return known[index]

    def _moment(self, cell: object) -> datetime | None:
        if self._pattern is None:
            return to_moment(cell)
        moment = None if isinstance(cell, str) else to_moment(cell)
        return moment or parsed(written(cell), self._pattern)

    def _wanted(self) -> str:
        if self._pattern is not None:
            return f"a time such as {_PROBE.strftime(self._pattern)!r}, as `time_format` says,"
        return "a date or time in ISO 8601, as in the first row,"

    def _name(self) -> str:
        return shown(self.column)

    def _tell(self, cells: Sequence, rows: Int[np.ndarray, " n"]) -> None:
        """What the times are, by the first that can be read at all."""
        if self._number:
            self.dated = False
            return
        texts = [written(cell) for cell in cells[:_FIRST]]
        filled = [place for place, text in enumerate(texts) if text]
        if not filled:
            return
        if self._pattern is None and self._is_number(texts, filled):
            self.dated = False
            return
        for place in filled:
            moment = self._moment(cells[place])
            if moment is not None:
                self.dated, self.zoned = True, moment.tzinfo is not None
                return
        row = int(rows[filled[0]]) if self.bad.word == "line" else None
        raise DataError(self.bad.path, self._refusal(texts, filled, cells), line=row)

    def _is_number(self, texts: Sequence[str], filled: Sequence[int]) -> bool:
        """Whether the first that can be read is a number, and no date written in digits."""
        told = (place for place in filled if self._is_told(texts[place]))
        first = next(told, None)
        if first is None or not self._is_value(texts[first]):
            return False
        if not _is_of_digits(texts[first]):
            return True
        others = [texts[place] for place in filled if not _is_of_digits(texts[place])]
        if any(map(self._is_value, others)):
            return True
        if any(to_moment(text) is not None for text in others):
            return False
        pattern = _OF_DIGITS[len(texts[first])]
        raise DataError(
            self.bad.path,
            f"the times in column {self._name()} may be numbers or dates: {texts[first]} is the "
            f"{parsed(texts[first], pattern):%Y-%m-%d} too, and so on. Say {_flag(pattern)} for "
            f"dates, or {_flag(NUMBER)} for numbers.",
        )

    def _is_value(self, text: str) -> bool:
        """Whether it is a number, also one that float64 would round, which is refused as such."""
        return is_rounded(text) or self.bad.decimals.value(text) is not None

    def _is_told(self, text: str) -> bool:
        return self._is_value(text) or to_moment(text) is not None

    def _refusal(self, texts: Sequence[str], filled: Sequence[int], cells: Sequence) -> str:
        first = texts[filled[0]]
        if isinstance(cells[filled[0]], timedelta):
            return (
                f"column {self._name()} holds durations; make them numbers, with pandas "
                "table[...] / pd.Timedelta(hours=1), and call the column 'time [h]'."
            )
        if self._pattern is not None:
            head = (
                f"no time in column {self._name()} is as time_format={self._pattern!r} says; "
                f"got {shown(first)}."
            )
        else:
            head = (
                f"the times in column {self._name()} are neither numbers nor dates in ISO 8601, as "
                f"2024-01-31T10:00 is; got {shown(first)}."
            )
        return f"{head} {_advice([texts[place] for place in filled])}"


def to_moment(cell: object) -> datetime | None:
    """The date or time in a cell, or None."""
    if is_missing(cell):  # pandas' NaT passes for a datetime
        return None
    if isinstance(cell, str):
        try:
            return datetime.fromisoformat(cell.strip())
        except ValueError:
            return None
    if isinstance(cell, datetime):
        return cell
    return datetime(cell.year, cell.month, cell.day) if isinstance(cell, date) else None


def parsed(text: str, pattern: str) -> datetime | None:
    """The date that a pattern finds in a text, or None."""
    try:
        return datetime.strptime(text, pattern)
    except ValueError:
        return None


def written(cell: object) -> str:
    """What a cell says; a whole number without the .0 that a frame gives it beside holes."""
    if isinstance(cell, float) and cell.is_integer():
        return f"{cell:.0f}"
    return text_of(cell)


def _is_of_digits(text: str) -> bool:
    """Whether a number is a date too, such as 20240131."""
    pattern = _OF_DIGITS.get(len(text)) if _DIGITS.fullmatch(text) else None
    return pattern is not None and parsed(text, pattern) is not None


def _advice(texts: Sequence[str]) -> str:
    """How such times are read."""
    patterns = _that_fit(texts)
    if len(patterns) == 1:
        return f"Say {_flag(patterns[0])}."
    if patterns:
        several = " or ".join(map(repr, patterns))
        return f"They may be {several}: say which by `time_format` ({_ON_THE_LINE})."
    if all(map(_TIME_OF_DAY.fullmatch, texts)):
        return "A time of day alone has no place among others: write its date before it."
    return (
        "Say how they are written, as Python's strptime has it, such as "
        f"{_flag('%d.%m.%Y %H:%M')}, or write them in ISO 8601."
    )


def _flag(pattern: str) -> str:
    """A pattern as an argument and as a flag."""
    # In quotes whatever it is, or a full stop behind it would read as a part of it.
    quoted = shlex.quote(pattern) if "'" in pattern else f"'{pattern}'"
    return f"`time_format={pattern!r}` ({_ON_THE_LINE} {quoted})"


def _that_fit(texts: Sequence[str]) -> list[str]:
    """The patterns, of those that are common, by which each of these is a date."""
    matches = [_PARTS.fullmatch(text) for text in dict.fromkeys(texts) if len(text) <= _LONGEST]
    found = [part.groups() for part in matches if part is not None]
    between = {between for _, between, _ in found}
    if len(found) < len(set(texts)) or len(between) > 1:
        return []
    days = _fitting(_DAYS, {day for day, _, _ in found})
    if not days or between == {None}:
        return days
    hours = _fitting(map("".join, product(_HOURS, _ZONES)), {hour for _, _, hour in found})
    return [f"{day}{found[0][1]}{hour}" for day, hour in product(days, hours)]


def _fitting(patterns: Iterable[str], texts: Collection[str]) -> list[str]:
    return [each for each in patterns if all(parsed(text, each) is not None for text in texts)]
