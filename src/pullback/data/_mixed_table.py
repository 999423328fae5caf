"""A table of the user's own whose columns may be anything: numbers, dates, names, text."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from pullback._names import check_list, shown
from pullback.data._cells import BadRows
from pullback.data._csv import choose_columns, leave_out
from pullback.data._errors import DataError
from pullback.data._sources import Source, open_source
from pullback.data._typed_cells import as_it_is, as_numbers, as_text, labels_of_column, typed

_ROWS = 65_536


class MixedTable(NamedTuple):
    """Some rows of a table.

    Attributes:
        names: of the columns.
        columns: of each float64 with NaN for a hole, or text with None for one.
        rows: of each row the line of the CSV file, or its number from 1 on in another.
        source: the name of the file, or what else the rows came from.
    """

    names: tuple[str, ...]
    columns: tuple[np.ndarray, ...]
    rows: Int[np.ndarray, " rows"]
    source: str

    def column(self, name: str) -> np.ndarray:
        """The column of this name."""
        return self.columns[self.names.index(name)]


def read_mixed(
    path: str | os.PathLike[str],
    numbers: Sequence[str] | None = None,
    *,
    optional: Sequence[str] = (),
    others: bool = False,
    labels: Sequence[str] = (),
    na_labels: str | None = None,
) -> MixedTable:
    """Read the columns of a table, each as numbers if its cells are such and else as text.

    A hole is an empty cell, NA, NaN, null, none or a question mark. A column of which most cells
    are numbers is one of numbers, and its other cells are errors, unless some are codes such as 01:
    beside cells that are no numbers these are text.

    Args:
        path: a CSV file in UTF-8, separated by commas, semicolons or tabs, with a header, or with
            columns that are then called x1, x2 and so on; or a Parquet file, `.parquet` or `.pq`.
        numbers: the names of columns that must be numbers, of which the table is; default all
            columns, of any kind, those without a name too.
        optional: beside them, columns of any kind, where the table has them.
        others: whether to take the rest too, as text where a cell is no number.
        labels: columns of classes, where the table has them: text is taken as it stands.
        na_labels: what a label of text such as NA, NaN, null, none or ? is: "class", one that is
            called so; "hole", a row without a class; None refuses it.

    Returns:
        All rows.

    Raises:
        DataError: the file cannot be read, has no rows, or a column of numbers has cells that are
            none (the message has the first 20 lines), or a name is unknown, or a label may be a
            hole.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.csv"
        >>> _ = file.write_text("name,weight\\nann,68\\nbob,\\n")
        >>> table = read_mixed(file)
        >>> table.column("weight").tolist(), table.column("name").tolist()
        ([68.0, nan], ['ann', 'bob'])
    """
    for argument, given in (("numbers", numbers), ("optional", optional), ("labels", labels)):
        check_list(argument, given)
    path = Path(path)
    source = open_source(path, headless=True)
    beside = [*labels, *optional, *(source.names if others else ())]
    wanted = None if numbers is None else [*numbers, *_present(source, numbers, beside)]
    parts = list(_blocks(path, wanted))
    if not parts:
        raise DataError(path, "expected rows after the header; there is none.")
    names = parts[0][0]
    rows = np.concatenate([np.asarray(numbers) for _, numbers, _ in parts])
    asked = names if numbers is None else names[: len(numbers)]
    bad = BadRows(path, source.word, lambda worst: leave_out(asked, worst))
    columns = []
    for place, name in enumerate(names):
        cells = [cell for _, _, cells in parts for cell in cells[place]]
        if name in labels:
            columns.append(_labels(cells, name, na_labels, rows, bad))
            continue
        read = as_numbers if numbers is not None and place < len(numbers) else typed
        strict = numbers is None or place < len(numbers) or name in optional
        read = read if strict else as_it_is
        columns.append(read(cells, rows.tolist(), name, bad))
    bad.check()
    return MixedTable(names, tuple(columns), rows, path.name)


def _labels(
    cells: Sequence, name: str, na_labels: str | None, rows: np.ndarray, bad: BadRows
) -> np.ndarray:
    def refused(problem: str, place: int) -> DataError:
        row = int(rows[place])
        if bad.word == "line":
            return DataError(bad.path, f"in column {shown(name)} {problem}", line=row)
        return DataError(bad.path, f"in column {shown(name)}, row {row}, {problem}")

    return labels_of_column(cells, na_labels, refused)


def _present(source: Source, numbers: Sequence[str], optional: Sequence[str]) -> list[str]:
    present = [name for name in optional if name in source.names and name not in numbers]
    return list(dict.fromkeys(present))


def mixed_chunks(
    path: str | os.PathLike[str], numbers: Sequence[str], *, optional: Sequence[str] = ()
) -> Iterator[MixedTable]:
    """The named columns of a table, some ten thousand rows at a time: memory stays flat.

    Args:
        path: as for `read_mixed`.
        numbers: columns that must be numbers, NaN where there is a hole.
        optional: columns that are taken as they stand, where the table has them.

    Yields:
        The next rows of the table.

    Raises:
        DataError: as `read_mixed`, or a column is missing.
    """
    path = Path(path)
    source = open_source(path, headless=True)
    bad = BadRows(path, source.word)
    here = _present(source, numbers, optional)
    empty = True
    for names, rows, cells in _blocks(path, (*numbers, *here)):
        columns = [
            as_numbers(column, rows, name, bad) if place < len(numbers) else as_text(column)
            for place, (column, name) in enumerate(zip(cells, names, strict=True))
        ]
        bad.check()
        empty = False
        yield MixedTable(names, tuple(columns), np.asarray(rows), path.name)
    if empty:
        raise DataError(path, "expected rows after the header; there is none.")


def _blocks(
    path: Path, wanted: Sequence[str] | None
) -> Iterator[tuple[tuple[str, ...], list[int], list[list]]]:
    """Names, rows' numbers and cells of some columns, about `_ROWS` rows at a time."""
    source = open_source(path, headless=True)
    places = (
        list(range(len(source.names)))
        if wanted is None
        else choose_columns(path, source.names, wanted)
    )
    names = tuple(source.names[place] for place in places)
    bad = BadRows(path, source.word)
    rows: list[int] = []
    cells: list[list] = [[] for _ in names]
    for numbers, columns in source.chunks(places, bad):
        bad.check(at_end=False)
        rows += numbers
        for kept, new in zip(cells, columns, strict=True):
            kept += new
        if len(rows) >= _ROWS:
            bad.check()
            yield names, rows, cells
            rows, cells = [], [[] for _ in names]
    bad.check()
    if rows:
        yield names, rows, cells
