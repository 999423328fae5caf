"""A table of numbers of the user's own: CSV, Parquet or npz, with columns chosen by name."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback._names import check_list
from pullback.data._blocks import Block
from pullback.data._cells import BadRows
from pullback.data._csv import choose_columns, leave_out
from pullback.data._errors import DataError
from pullback.data._growing import Growing
from pullback.data._holes import is_hole
from pullback.data._npz_table import npz_table
from pullback.data._sources import open_source

_MARKS = "A number that is missing is an empty cell or NA."


class NumberTable(NamedTuple):
    """The whole rows of a table of numbers, and where the others have holes.

    Attributes:
        values: `[rows, columns]`, float64.
        columns: the columns' names.
        rows: of each row the line of the CSV file, or its number from 1 on in another.
        holes: the rows that were left out, in the same count, with the columns that they lack.
    """

    values: Float[np.ndarray, "rows columns"]
    columns: tuple[str, ...]
    rows: Int[np.ndarray, " rows"]
    holes: dict[int, tuple[str, ...]]

    def describe_holes(self) -> str:
        """A sentence on what was left out, or nothing."""
        if not self.holes:
            return ""
        found = [name for names in self.holes.values() for name in names]
        shown = _most(self.columns, [found.count(name) for name in self.columns])
        first = ", ".join(str(row) for row in list(self.holes)[:5])
        return (
            f"{len(self.holes)} of {len(self.holes) + len(self.rows)} rows have holes and were "
            f"left out ({shown}); the first are rows {first}."
        )


def read_table(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    *,
    header: bool | None = None,
    decimal: str | None = None,
) -> NumberTable:
    """Read a table of numbers, and leave out the rows that have holes.

    A hole is an empty cell, NA, NaN, null, none or a question mark, in a column that is taken. Any
    other cell that is no finite number is an error, and so are a whole number that float64 would
    round, and a row of another length.

    Args:
        path: a CSV file in UTF-8, or in UTF-16 with its mark, as it is or packed by gzip, separated
            by commas, semicolons or tabs, with a header, or with columns that are then called x1,
            x2 and so on; a Parquet file, `.parquet` or `.pq`; or an `.npz` file with an array `x`
            `[rows, columns]`, called x1, x2 and so on, and maybe `y` `[rows]`.
        columns: the names of the columns to take, in this order; default all.
        header: whether the first row of a CSV file is a header. None: it is one if none of its
            cells is a number. A first row of numbers that may be names is refused: no two are the
            same, and all are whole, or they go in equal steps, or beside them is text that neither
            comes again below it nor is a date above dates.
        decimal: the sign before the fractions of a CSV file, "." or ",". None: a point; and where
            there are semicolons or tabs between the cells a comma in columns that have no points,
            unless all such cells, as 1,234, may have thousands.

    Returns:
        The whole rows, and the holes of the others.

    Raises:
        ValueError: `columns`, `header` or `decimal` is not as above.
        DataError: the file cannot be read, a column is unknown or named twice, cells are no
            numbers (the message has the first 20 lines), no row is whole, or `header` or `decimal`
            is to be said.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.csv"
        >>> _ = file.write_text("height,weight\\n1.71,68\\n1.64,\\n1.8,75\\n")
        >>> table = read_table(file)
        >>> table.values.tolist(), table.describe_holes()
        ([[1.71, 68.0], [1.8, 75.0]],
         '1 of 3 rows have holes and were left out (weight in 1); the first are rows 3.')
    """
    check_list("columns", columns)
    if columns is not None and not len(columns):
        raise ValueError("`columns` must name a column or more, got none; None takes all.")
    path = Path(path)
    if path.suffix.lower() == ".npz":
        names, rows, cells = npz_table(path)
        places = choose_columns(path, names, columns)
        names, cells = tuple(names[place] for place in places), cells[:, places]
    else:
        names, rows, cells = _cells(path, columns, header, decimal)
    lacking = np.isnan(cells)
    broken = lacking.any(axis=1)
    if broken.all():
        counts = lacking.sum(axis=0).tolist()
        empty = [name for name, count in zip(names, counts, strict=True) if count == len(cells)]
        remedy = leave_out(names, empty) if empty else "Leave out columns that have many."
        raise DataError(
            path,
            f"expected a row without holes; none of {len(cells)} is whole "
            f"({_most(names, counts)}). {remedy}".strip(),
        )
    if not broken.any():
        return NumberTable(cells, names, rows, {})
    kinds, which = np.unique(lacking[broken], axis=0, return_inverse=True)
    lacks = [tuple(names[place] for place in np.flatnonzero(kind)) for kind in kinds]
    holes = {row: lacks[k] for row, k in zip(rows[broken].tolist(), which.tolist(), strict=True)}
    return NumberTable(cells[~broken], names, rows[~broken], holes)


def _most(names: Sequence[str], counts: Sequence[int]) -> str:
    """The columns with the most holes, and how many."""
    worst = sorted(zip(names, counts, strict=True), key=lambda column: -column[1])
    return ", ".join(f"{name} in {count}" for name, count in worst[:5] if count)


def _cells(
    path: Path, columns: Sequence[str] | None, header: bool | None, decimal: str | None
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The names, the rows' numbers, and the cells, NaN where there is a hole."""
    source = open_source(path, headless=True, header=header, decimal=decimal)
    assert source.blocks is not None  # as of every file
    places = choose_columns(path, source.names, columns)
    names = tuple(source.names[place] for place in places)
    remedy = lambda bad: f"{leave_out(names, bad)} {_MARKS}"
    bad = BadRows(path, source.word, remedy, decimal=source.decimal)
    rows, values = Growing(np.int64), Growing(np.float64)
    for block in source.blocks(places, (), bad):
        part = np.empty((len(block.rows), len(places)))
        for column, (place, name) in enumerate(zip(places, names, strict=True)):
            found = block.numbers[place]
            part[:, column] = _column(block, place, name, bad) if found is None else found
            if found is not None and not np.isnan(found).all():
                bad.with_numbers.add(name)
        rows.append(block.rows)
        values.append(part.reshape(-1))
        bad.check(at_end=False)
    bad.check()
    numbered = rows.whole()
    if not len(numbered):
        raise DataError(path, "expected rows of numbers after the header; there is none.")
    return names, numbered, values.whole().reshape(-1, len(names))


def _column(block: Block, place: int, name: str, bad: BadRows) -> Float[np.ndarray, " rows"]:
    """Cells of which one is no number, one by one."""
    found = np.full(len(block.rows), np.nan)
    for row, (cell, number) in enumerate(zip(block.cells(place), block.rows.tolist(), strict=True)):
        if is_hole(cell):
            continue
        text = str(cell).strip()
        value = bad.decimals.number(name, number, text)
        if value is None or not math.isfinite(value):
            bad.no_number(name, number, text)
        else:
            found[row] = value
            bad.with_numbers.add(name)
    return found
