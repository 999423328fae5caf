"""A table of the user's own whose columns may be anything: numbers, dates, names, text."""

import os
from collections.abc import Collection, Iterator, Sequence
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

_EXACT = 2**53


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
    header: bool | None = None,
    decimal: str | None = None,
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
        header: whether the first row of a CSV file has the columns' names, as for `read_table`.
        decimal: the sign before fractions, likewise.

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
    source = open_source(path, headless=True, header=header, decimal=decimal)
    beside = [*labels, *optional, *(source.names if others else ())]
    wanted = None if numbers is None else [*numbers, *_present(source, numbers, beside)]
    places = range(len(source.names)) if wanted is None else choose_columns(
        path, source.names, wanted
    )  # fmt: skip
    names = tuple(source.names[place] for place in places)
    asked = names if numbers is None else names[: len(numbers)]
    strict = {*names} if numbers is None else {*asked, *optional}
    bad = BadRows(path, source.word, lambda worst: leave_out(asked, worst), decimal=source.decimal)
    rows, floats, cells = _columns(source, places, {*labels}, bad)
    columns = []
    for place, name in zip(places, names, strict=True):
        if place in floats:
            found = floats[place]
        elif name in labels:
            found = _labels(cells[place], name, na_labels, rows, bad)
        elif numbers is not None and name in asked:
            found = as_numbers(cells[place], rows, name, bad)
        else:
            found = (typed if name in strict else as_it_is)(cells[place], rows, name, bad)
        columns.append(found)
    bad.check()
    return MixedTable(names, tuple(columns), rows, path.name)


def _columns(
    source: Source, places: Sequence[int], texts: Collection[str], bad: BadRows
) -> tuple[Int[np.ndarray, " rows"], dict[int, np.ndarray], dict[int, list]]:
    """The rows' numbers; the columns that are of numbers alone; and the cells of the others."""
    assert source.blocks is not None  # as of every file
    once = [place for place in places if source.names[place] not in texts]
    first = next(source.blocks(once, (), BadRows(bad.path, bad.word, decimal=source.decimal)), None)
    plain = [] if first is None else [place for place in once if _is_plain(first.numbers[place])]
    numeric = {place: [] for place in plain}
    others = [place for place in places if place not in numeric]
    rows, cells = [], {place: [] for place in others}
    for block in source.blocks([*numeric], others, bad):
        rows.append(block.rows)
        for place in [*numeric]:
            if _is_plain(part := block.numbers[place]):
                numeric[place].append(part)
            else:
                del numeric[place]
        for place in others:
            cells[place] += block.cells(place)
        bad.check(at_end=False)
    bad.check()
    if not rows:
        raise DataError(bad.path, "expected rows after the header; there is none.")
    # Those of which a cell far down is none are read again.
    again = [place for place in places if place not in numeric and place not in cells]
    for block in source.blocks((), again, BadRows(bad.path, bad.word)) if again else ():
        for place in again:
            cells.setdefault(place, []).extend(block.cells(place))
    return np.concatenate(rows), {at: np.concatenate(found) for at, found in numeric.items()}, cells


def _is_plain(part: np.ndarray | None) -> bool:
    """Whether all cells are numbers or holes; whole ones from 2^53 on may only name the rows."""
    return part is not None and not bool((np.abs(part) >= _EXACT).any())


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
    known = {*source.names} - {*numbers}
    present = [name for name in optional if name in known]
    return list(dict.fromkeys(present))


def mixed_chunks(
    path: str | os.PathLike[str],
    numbers: Sequence[str],
    *,
    optional: Sequence[str] = (),
    header: bool | None = None,
    decimal: str | None = None,
) -> Iterator[MixedTable]:
    """The named columns of a table, some ten thousand rows at a time: memory stays flat.

    Args:
        path: as for `read_mixed`.
        numbers: columns that must be numbers, NaN where there is a hole.
        optional: columns that are taken as they stand, where the table has them.
        header: whether the first row of a CSV file has the columns' names, as for `read_table`.
        decimal: the sign before fractions, likewise.

    Yields:
        The next rows of the table.

    Raises:
        DataError: as `read_mixed`, or a column is missing.
    """
    path = Path(path)
    source = open_source(path, headless=True, header=header, decimal=decimal)
    assert source.blocks is not None  # as of every file
    names = (*numbers, *_present(source, numbers, optional))
    places = choose_columns(path, source.names, names)
    bad = BadRows(path, source.word, decimal=source.decimal)
    empty = True
    for block in source.blocks(places[: len(numbers)], places[len(numbers) :], bad):
        columns = []
        for place, name in zip(places, names, strict=True):
            found = block.numbers.get(place)
            if found is None:
                cells = block.cells(place)
                is_number = len(columns) < len(numbers)
                found = as_numbers(cells, block.rows, name, bad) if is_number else as_text(cells)
            elif not np.isnan(found).all():
                bad.with_numbers.add(name)
            columns.append(found)
        bad.check(at_end=False)
        if not bad.problems:
            empty = False
            yield MixedTable(names, tuple(columns), block.rows, path.name)
    bad.check()
    if empty:
        raise DataError(path, "expected rows after the header; there is none.")
