"""The rows and the columns' names of CSV files."""

import csv
import difflib
from collections.abc import Iterator
from pathlib import Path

from pullback.data._errors import DataError

_DELIMITERS = ",;\t"


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line that it ends on, from 1."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front.
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if cells and (cells[0].strip() or any(map(str.strip, cells))):
                    yield reader.line_num, cells
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(path, f"expected text in UTF-8: {error}.") from error
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


def check_names(path: Path, line: int, names: tuple[str, ...]) -> None:
    """Every column has a name, and no two the same."""
    for place, name in enumerate(names):
        if not name:
            raise DataError(path, f"column {place + 1} of the header has no name.", line=line)
        if name in names[:place]:
            raise DataError(path, f"the header has the name {name!r} twice.", line=line)


def choose_columns(path: Path, names: tuple[str, ...], wanted: tuple[str, ...]) -> list[int]:
    """The places of the columns wanted."""
    for place, name in enumerate(wanted):
        if name in wanted[:place]:
            raise DataError(path, f"column {name!r} is asked for twice.")
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise DataError(
                path,
                f"there is no column {name!r}; did you mean {near!r}? The columns are "
                f"{', '.join(names)}.",
            )
    return [names.index(name) for name in wanted]
