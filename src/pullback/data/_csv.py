"""A numeric CSV file of the user's own."""

import csv
import difflib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pullback.data._errors import DataError

_DELIMITERS = ",;\t"


class Table(NamedTuple):
    """Numbers in columns.

    Attributes:
        values: `[rows, columns]`.
        columns: the columns' names.
    """

    values: Float[np.ndarray, "rows columns"]
    columns: tuple[str, ...]


def read_csv(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> Table:
    """Read a CSV file of numbers.

    The first row is the header if no cell of it is a number; without one the columns are called
    x1, x2, and so on. Cells are separated by commas, semicolons or tabs, whichever the first row
    has most of. Blank lines are passed over.

    Args:
        path: the file, in UTF-8.
        columns: the names of the columns to take, in this order; default all.

    Returns:
        The numbers as float64 and the names.

    Raises:
        DataError: the file cannot be read or has no rows; a row has more or fewer cells than the
            first; a cell that is to be taken is empty, no number, NaN or infinite; a name is
            missing, double or unknown. The message has the line.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.csv"
        >>> _ = file.write_text("height,weight\\n1.71,68\\n1.64,59.5\\n")
        >>> read_csv(file, ["weight"])
        Table(values=array([[68. ], [59.5]]), columns=('weight',))
    """
    path = Path(path)
    rows = list(csv_rows(path))
    if not rows:
        raise DataError(path, "expected rows of numbers; the file is empty.")
    first_line, first = rows[0]
    if any(to_number(cell) is not None for cell in first):
        names = tuple(f"x{place + 1}" for place in range(len(first)))
    else:
        names = tuple(cell.strip() for cell in first)
        check_names(path, first_line, names)
        rows = rows[1:]
    if not rows:
        raise DataError(path, "expected rows of numbers after the header; there is none.")
    chosen = choose_columns(path, names, names if columns is None else tuple(columns))
    values = np.empty((len(rows), len(chosen)))
    for row, (line, cells) in enumerate(rows):
        if len(cells) != len(names):
            raise DataError(path, f"expected {len(names)} cells, got {len(cells)}.", line=line)
        for column, place in enumerate(chosen):
            values[row, column] = _finite(path, line, names[place], cells[place])
    return Table(values, tuple(names[place] for place in chosen))


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


def _finite(path: Path, line: int, name: str, cell: str) -> float:
    value = to_number(cell)
    if value is None:
        got = f"got {cell.strip()!r}" if cell.strip() else "the cell is empty"
        raise DataError(path, f"expected a number in column {name!r}; {got}.", line=line)
    if not math.isfinite(value):
        raise DataError(
            path, f"expected a finite number in column {name!r}; got {cell.strip()}.", line=line
        )
    return value


def check_names(path: Path, line: int, names: tuple[str, ...]) -> None:
    """Every column has a name, and no two the same."""
    for place, name in enumerate(names):
        if not name:
            raise DataError(path, f"column {place + 1} of the header has no name.", line=line)
        if name in names[:place]:
            raise DataError(path, f"the header has the name {name!r} twice.", line=line)


def choose_columns(path: Path, names: tuple[str, ...], wanted: tuple[str, ...]) -> list[int]:
    """The places of the columns wanted."""
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise DataError(
                path,
                f"there is no column {name!r}; did you mean {near!r}? The columns are "
                f"{', '.join(names)}.",
            )
    return [names.index(name) for name in wanted]
