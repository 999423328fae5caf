"""The rows and the columns' names of CSV files."""

import csv
import gzip
import shlex
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pullback._names import did_you_mean
from pullback.data._errors import DataError

DELIMITERS = ",;\t"
# What pandas calls an index when it writes Parquet, and when it reads a CSV file that has one.
_PANDAS_INDEX = ("__index_level_", "Unnamed: ")


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A file of text in UTF-8, unzipped where its name ends in `.gz`, with errors that name it."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front.
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
                yield file
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield file
    except UnicodeDecodeError as error:
        raise DataError(path, f"expected text in UTF-8: {error}.") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(path, f"cannot be read: {reason}.") from error


def csv_rows(path: Path, *, empty: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line that it ends on, from 1.

    Args:
        path: the file.
        empty: whether a row counts that has cells, and nothing in them.
    """
    reader: Any = None
    try:
        with open_text(path) as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            delimiter = max(DELIMITERS, key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                counts = empty and (len(cells) > 1 or cells == [""])
                if cells and (counts or cells[0].strip() or any(map(str.strip, cells))):
                    yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(path, f"not a CSV file: {error}.", line=reader.line_num) from error


def to_number(cell: str) -> float | None:
    """The number in a cell, or None."""
    # Python takes 1_000 for a number; no spreadsheet does.
    if "_" in cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def check_names(path: Path, line: int | None, names: tuple[str, ...]) -> None:
    """No two columns have the same name."""
    for place, name in enumerate(names):
        if name and name in names[:place]:
            raise DataError(path, f"the header has the name {name!r} twice.", line=line)


def leave_out(names: Sequence[str], bad: Sequence[str]) -> str:
    """How to take the other columns alone."""
    good = [name for name in names if name not in bad]
    if not good:
        return ""
    shown = f"columns={good}" if len(good) <= 12 else "`columns`"
    flags = " ".join(map(shlex.quote, good)) if shown != "`columns`" else "NAME NAME"
    return (
        f"Name the columns of numbers to take, {shown} (on the command line --columns {flags}), or "
        "take the others out of the file."
    )


def choose_columns(path: Path, names: tuple[str, ...], wanted: Sequence[str] | None) -> list[int]:
    """The places of the columns wanted; of all where there is none without a name."""
    if wanted is None:
        for place, name in enumerate(names):
            if not name or name.startswith(_PANDAS_INDEX):
                called = f", {name!r}," if name else ""
                raise DataError(
                    path,
                    f"column {place + 1}{called} has no name of its own, as the index of a pandas "
                    f"table; write the file with index=False. {leave_out(names, [name])}",
                )
        wanted = names
    for place, name in enumerate(wanted):
        if name in wanted[:place]:
            raise DataError(path, f"column {name!r} is asked for twice.")
        if name not in names:
            hint = did_you_mean(name, names) or "."
            raise DataError(
                path, f"there is no column {name!r}{hint} The columns are {', '.join(names)}."
            )
    return [names.index(name) for name in wanted]
