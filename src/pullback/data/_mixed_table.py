"""A table of the user's own whose columns may be anything: numbers, dates, names, text."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from pullback._names import check_list
from pullback.data._cells import BadRows, is_date, is_missing
from pullback.data._csv import choose_columns, leave_out, to_number
from pullback.data._errors import DataError
from pullback.data._sources import Source, open_source

HOLES = ("", "na", "n/a", "nan", "null", "none", "?")
_ROWS = 65_536
_CODE = re.compile(r"[+-]?0\d+")


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

    Returns:
        All rows.

    Raises:
        DataError: the file cannot be read, has no rows, or a column of numbers has cells that are
            none (the message has the first 20 lines), or a name is unknown.

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
            columns.append(as_labels(cells))
            continue
        read = as_numbers if numbers is not None and place < len(numbers) else _typed
        strict = numbers is None or place < len(numbers) or name in optional
        read = read if strict else _as_it_is
        columns.append(read(cells, rows.tolist(), name, bad))
    bad.check()
    return MixedTable(names, tuple(columns), rows, path.name)


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


def is_hole(cell: object) -> bool:
    """Whether there is nothing in a cell."""
    if is_missing(cell):
        return True
    return isinstance(cell, str) and cell.strip().lower() in HOLES


def as_numbers(cells: Sequence, rows: Sequence[int], name: str, bad: BadRows) -> np.ndarray:
    """Cells as float64, NaN where there is a hole, and a bad row where one is no finite number."""
    quick = _all_numbers(cells)
    if quick is None:
        quick = _yes_and_no(cells)
    if quick is not None:
        bad.with_numbers.add(name)
        return quick
    found = []
    for cell, row in zip(cells, rows, strict=True):
        value = np.nan if is_hole(cell) else to_number(str(cell))
        if value is None or abs(value) == np.inf:
            bad.no_number(name, int(row), cell)
            value = np.nan
        elif value == value:
            bad.with_numbers.add(name)
        found.append(value)
    return np.asarray(found, np.float64)


def _all_numbers(cells: Sequence) -> np.ndarray | None:
    """Cells that are finite numbers, one and all."""
    try:
        found = np.array(list(map(float, cells)), np.float64)
    except (TypeError, ValueError):
        return None
    # Python takes 1_000 for a number; no spreadsheet does.
    marked = any(isinstance(cell, str) and "_" in cell for cell in cells)
    return None if marked or not np.isfinite(found).all() else found


def _yes_and_no(cells: Sequence) -> np.ndarray | None:
    """Cells that are True or False, or holes, one and all, as 1 and 0."""
    words = [None if is_hole(cell) else str(cell).strip().lower() for cell in cells]
    if not {*words} - {None} or not {*words} <= {"true", "false", None}:
        return None
    return np.asarray([np.nan if word is None else word == "true" for word in words], np.float64)


def as_labels(cells: Sequence) -> np.ndarray:
    """Cells that name classes: numbers where all are such, else text, taken as it stands.

    Of numbers a word such as NA is a hole. Of text only an empty cell is one, for None may be a
    class; and codes such as 01 are text, for 1 may be another.

    Args:
        cells: text, numbers, yes and no, or None.

    Returns:
        float64 with NaN for a hole, or text with None for one.

    Example:
        >>> print(as_labels(["2", "NA", "1"]), as_labels(["mild", "None", ""]))
        [ 2. nan  1.] ['mild' 'None' None]
    """
    whole = [cell for cell in cells if not is_hole(cell)]
    if whole and not _has_codes(whole) and _all_numbers(whole) is not None:
        if not all(isinstance(cell, bool | np.bool_) for cell in whole):
            return np.asarray([np.nan if is_hole(cell) else float(cell) for cell in cells])
    text = [None if _is_nothing(cell) else str(cell).strip() for cell in cells]
    return np.asarray(text, object)


def _has_codes(cells: Sequence) -> bool:
    return any(isinstance(cell, str) and _CODE.fullmatch(cell.strip()) for cell in cells)


def _is_nothing(cell: object) -> bool:
    return not cell.strip() if isinstance(cell, str) else is_hole(cell)


def _as_it_is(cells: Sequence, rows: Sequence[int], name: str, bad: BadRows) -> np.ndarray:
    whole = [cell for cell in cells if not is_hole(cell)]
    numbers = [to_number(str(cell)) for cell in whole]
    good = all(number is not None and abs(number) < np.inf for number in numbers)
    return _typed(cells, rows, name, bad) if good else as_text(cells)


def as_text(cells: Iterable) -> np.ndarray:
    """Cells as text, None where there is a hole."""
    found = [None if is_hole(cell) else str(cell).strip() for cell in cells]
    return np.asarray(found, object)


def _typed(cells: Sequence, rows: Sequence[int], name: str, bad: BadRows) -> np.ndarray:
    quick = _all_numbers(cells)
    if quick is not None:
        # Whole numbers that a float cannot tell apart only name the rows.
        exact = all(str(cell).strip().lstrip("+-").isdigit() for cell in cells)
        return as_text(cells) if exact and np.abs(quick).max(initial=0) > 2**53 else quick
    yes_and_no = _yes_and_no(cells)
    if yes_and_no is not None:
        return yes_and_no
    whole = [cell for cell in cells if not is_hole(cell)]
    good = sum(to_number(str(cell)) is not None for cell in whole)
    if good < len(whole) and _has_codes(whole):
        return as_text(cells)
    if good * 2 > len(whole) or not whole:
        return as_numbers(cells, rows, name, bad)
    return as_text(cells)


def looks_like_dates(column: np.ndarray) -> bool:
    """Whether a column of text is one of dates or times."""
    whole = [cell for cell in column[:1000] if cell is not None]
    return bool(whole) and all(map(is_date, whole))
