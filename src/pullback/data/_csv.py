"""The rows and the columns' names of CSV files."""

import csv
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from pullback._names import did_you_mean, listed, shown
from pullback.data._errors import DataError
from pullback.data._holes import HOLES
from pullback.data._text import open_text

DELIMITERS = ",;\t"
# What pandas calls an index when it writes Parquet, and when it reads a CSV file that has one.
_PANDAS_INDEX = ("__index_level_", "Unnamed: ")
_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?\s*', re.IGNORECASE)  # of Excel, in a first line
_WHOLE = re.compile(r"[+-]?\d{16,300}")
_LOOKED_AT = 20  # rows
_SAMPLE = 2**16  # letters
DECIMAL_COMMA = re.compile(r"[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?")


class Layout(NamedTuple):
    """How a CSV file is written.

    Attributes:
        delimiter: what stands between its cells.
        rows: its first rows that are not blank.
        line: the line that the first of them ends on, from 1.
        start: the bytes, in UTF-8 without a mark, before the first row, and the lines.
        end: the bytes behind the first row.
    """

    delimiter: str
    rows: list[list[str]]
    line: int
    start: tuple[int, int]
    end: int


def layout_of(path: Path, decimal: str | None = None) -> Layout:
    """How a file is written, by its first rows."""
    with open_text(path) as file:
        sample, size = [], 0
        for line in file:
            sample.append(line)
            size += len(line)
            if size > _SAMPLE:
                break
        stated = _SEPARATOR.fullmatch(sample[0]) if sample else None
        skipped = sample[:1] if stated else []
        sample = sample[len(skipped) :]
        delimiter = stated[1] if stated else _delimiter(path, sample, decimal)
        passed = start = sum(len(line.encode()) for line in skipped)

        def counted() -> Iterator[str]:
            nonlocal passed
            for line in chain(sample, file):
                passed += len(line.encode())
                yield line

        first = next(rows_of(path, counted(), delimiter, len(skipped)), (0, []))
    rows = [first[1], *_first_rows(sample, delimiter)[1:]] if first[0] else []
    return Layout(delimiter, rows, first[0], (start, len(skipped)), passed)


def rows_of(
    path: Path, lines: Iterable[str], delimiter: str, line: int
) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line that it ends on, where `line` went before."""
    reader: Any = csv.reader(lines, delimiter=delimiter, strict=True)
    begun = 0  # the lines before the row
    try:
        for cells in reader:
            begun = reader.line_num
            # Cells with nothing in them are a row.
            if len(cells) > 1 or cells == [""] or (cells and cells[0].strip()):
                yield line + reader.line_num, cells
    except csv.Error as error:
        problem = f"not a CSV file: {_broken(str(error), reader.line_num > begun + 1)}"
        raise DataError(path, problem, line=line + begun + 1) from error


def _broken(problem: str, goes_on: bool) -> str:
    """What is wrong with a row, and how it is mended; whether it goes on over lines."""
    if "end of data" in problem or (goes_on and "limit" in problem):
        return (
            "in the row that begins here a quotation mark is opened and not closed; close it, or "
            'write "" for one within a cell.'
        )
    if "limit" in problem:
        most = csv.field_size_limit()
        return f"a cell has more than {most} letters; cut it, or leave its column out of the file."
    if "expected after" in problem:
        return 'text stands behind a closing quotation mark; write "" for one within a cell.'
    return f"{problem}."


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a file that are not blank, each with the line that it ends on, from 1."""
    layout = layout_of(path)
    skipped = layout.start[1]
    with open_text(path) as file:
        yield from rows_of(path, islice(file, skipped, None), layout.delimiter, skipped)


def _delimiter(path: Path, sample: Sequence[str], decimal: str | None) -> str:
    """What stands between cells: what makes rows of one length, most cells of them numbers."""
    fit: dict[str, tuple[float, int]] = {}
    for delimiter in DELIMITERS:
        rows = _first_rows(sample, delimiter)
        width = len(rows[0]) if rows else 0
        if delimiter == decimal and not any(map(DECIMAL_COMMA.fullmatch, chain(*rows))):
            continue  # where it stands in numbers too, these are in quotation marks
        if width > 1 and all(len(cells) == width for cells in rows):
            found = [_is_numeric(cell, delimiter) for cells in rows for cell in cells]
            fit[delimiter] = sum(found) / len(found), width
    if fit:
        return max(fit, key=lambda delimiter: fit[delimiter])
    _check_others(path, sample)
    first = next((line for line in sample if line.strip()), "")
    return max((each for each in DELIMITERS if each != decimal), key=first.count)


def _check_others(path: Path, sample: Sequence[str]) -> None:
    """Raise where bars or spaces stand between cells."""
    lines = [line.strip() for line in sample[:_LOOKED_AT] if line.strip()]
    bars = {line.count("|") for line in lines}
    if len(lines) > 1 and len(bars) == 1 and bars != {0}:
        problem = "cells are separated by |; write sep=| alone on a first line, or separate them by"
        raise DataError(path, f"{problem} commas, semicolons or tabs.")
    rows = [line.split() for line in lines[1:]]
    numeric = all(to_number(cell) is not None for cells in rows for cell in cells)
    if rows and numeric and {*map(len, rows)} != {1} and len({*map(len, rows)}) == 1:
        problem = "cells are separated by spaces; separate them by commas, semicolons or tabs"
        raise DataError(path, f"{problem} (numpy.savetxt: delimiter=',', comments='').")


def _first_rows(sample: Sequence[str], delimiter: str) -> list[list[str]]:
    """The first rows, as far as they can be read."""
    rows = []
    try:
        for _, cells in islice(rows_of(Path(), sample, delimiter, 0), _LOOKED_AT):
            rows.append(cells)
    except DataError:
        pass
    return rows


def _is_numeric(cell: str, delimiter: str) -> bool:
    text = cell.strip()
    if text.lower() in HOLES or to_number(text) is not None:
        return True
    return delimiter != "," and DECIMAL_COMMA.fullmatch(text) is not None


def to_number(cell: str) -> float | None:
    """The number in a cell, or None."""
    # Python takes 1_000 for a number; no spreadsheet does.
    if "_" in cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def is_rounded(cell: object) -> bool:
    """Whether a cell is a whole number that is another as float64, which holds all below 2^53."""
    text = str(cell).strip()
    if len(text) < 16 or not _WHOLE.fullmatch(text):
        return False
    found = float(text)  # which a program may have written with fewer figures
    return int(text) not in (int(found), int(Decimal(repr(found))))


def check_names(path: Path, line: int | None, names: tuple[str, ...]) -> None:
    """No two columns have the same name."""
    for name, count in Counter(names).items():
        if name and count > 1:
            raise DataError(path, f"the header has the name {shown(name)} twice.", line=line)


def leave_out(names: Sequence[str], bad: Sequence[str]) -> str:
    """How to take the other columns alone."""
    without = set(bad)
    good = [name for name in names if name not in without]
    if not good:
        return ""
    short = len(good) <= 12 and all(len(name) <= 60 and name.isprintable() for name in good)
    told = f"columns={good}" if short else "`columns`"
    flags = " ".join(map(shlex.quote, good)) if told != "`columns`" else "NAME NAME"
    return (
        f"Name the columns of numbers to take, {told} (on the command line --columns {flags}), or "
        "take the others out of the file."
    )


def choose_columns(path: Path, names: tuple[str, ...], wanted: Sequence[str] | None) -> list[int]:
    """The places of the columns wanted; of all where there is none without a name."""
    if wanted is None:
        for place, name in enumerate(names):
            if not name or name.startswith(_PANDAS_INDEX):
                called = f", {shown(name)}," if name else ""
                raise DataError(
                    path,
                    f"column {place + 1}{called} has no name of its own, as the index of a pandas "
                    f"table; write the file with index=False. {leave_out(names, [name])}",
                )
        return list(range(len(names)))
    places = dict(reversed([(name, place) for place, name in enumerate(names)]))
    for name, count in Counter(wanted).items():
        if not isinstance(name, str):
            raise DataError(
                path,
                f"columns are asked for by their names, got {name!r}; they are {listed(names)}.",
            )
        if count > 1:
            raise DataError(path, f"column {shown(name)} is asked for twice.")
        if name not in places:
            hint = did_you_mean(name, names) or "."
            raise DataError(
                path, f"there is no column {shown(name)}{hint} The columns are {listed(names)}."
            )
    return [places[name] for name in wanted]
