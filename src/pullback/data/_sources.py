"""Columns of cells from CSV and from Parquet files, some rows at a time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pullback._names import listed, shown
from pullback.data._blocks import Block, as_floats
from pullback.data._cells import BadRows
from pullback.data._csv import check_names, layout_of
from pullback.data._csv_blocks import CsvRows
from pullback.data._decimals import check_decimal
from pullback.data._errors import DataError
from pullback.data._headers import (
    begins_with_a_row,
    check_decimal_comma,
    check_header,
    check_one_comma,
    ends_in_a_delimiter,
    is_finite,
)

_ROWS, _PARQUET_ROWS = 2048, 2**16

Chunks = Callable[[Sequence[int], BadRows], Iterator[tuple[list[int], list[Sequence]]]]


class Source(NamedTuple):
    """A file of rows.

    Attributes:
        names: of its columns.
        word: what a row is counted in, "line" or "row".
        chunks: for the places of some columns, the number of each row and those columns' cells.
        blocks: the same without a Python object for each cell: for the places of columns that
            should be numbers, and of others, each at most once, some ten thousand rows at a time.
            None of a data frame, which has `chunks` alone. Rows of another length are told to the
            `BadRows` and left out, as by `chunks`.
        decimal: the sign before fractions in text, for the `BadRows`; None for whichever it shows.
    """

    names: tuple[str, ...]
    word: str
    chunks: Chunks
    blocks: Callable[[Sequence[int], Sequence[int], BadRows], Iterator[Block]] | None = None
    decimal: str | None = "."


def open_source(
    path: Path,
    *,
    headless: bool = False,
    header: bool | None = None,
    decimal: str | None = None,
    ask: bool = True,
) -> Source:
    """The rows of a CSV file, or of a Parquet file if its name ends so.

    Args:
        path: the file.
        headless: whether a CSV file may begin with a row; its columns are x1, x2, and so on.
        header: whether the first row that is not blank is a header; None: as it looks.
        decimal: the sign before fractions; None: as it looks.
        ask: whether to refuse a first row that may be either.
    """
    check_decimal(decimal)
    check_header(header)
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise DataError(path, "is a spreadsheet; save the sheet as CSV (UTF-8).")
    parquet = path.suffix.lower() in (".parquet", ".pq")
    if not parquet:
        return _csv(path, headless, header, decimal, ask)
    if header is False:
        raise DataError(
            path, "Parquet has its columns' names apart from its rows; say no `header`."
        )
    return _parquet(path, decimal or ".")


def frame_source(frame: Any) -> Source:
    """The rows of a data frame of pandas or polars."""
    path = Path(f"the {type(frame).__name__}")
    names = tuple(map(str, frame.columns))
    check_names(path, None, names)

    def chunks(chosen: Sequence[int], bad: BadRows) -> Iterator[tuple[list[int], list[Sequence]]]:
        columns = [frame[frame.columns[place]] for place in chosen]
        for start in range(0, len(frame), _ROWS):
            parts = [column[start : start + _ROWS].to_list() for column in columns]
            for place, part in zip(chosen, parts, strict=True):
                check_frame_cells(path, names[place], part)
            yield list(range(start + 1, start + 1 + len(parts[0]))), parts

    return Source(names, "row", chunks)


def is_data_frame(x: Any) -> bool:
    """Whether data have named columns, as those of pandas and of polars have.

    Raises:
        TypeError: they are still to be computed.

    Example:
        >>> import numpy, pandas
        >>> is_data_frame(pandas.DataFrame({"a": [1]})), is_data_frame(numpy.ones((2, 2)))
        (True, False)
    """
    if hasattr(x, "collect_schema") and hasattr(x, "collect"):
        name = type(x).__name__
        raise TypeError(f"a {name} has no rows yet; give what its `.collect()` returns.")
    return hasattr(x, "columns") and hasattr(x, "__getitem__") and hasattr(x, "shape")


def check_frame_cells(path: Path, name: str, cells: Sequence) -> None:
    """Raise for what no file has in a cell: bytes, lists and mappings."""
    for kind in {*map(type, cells)}:
        if issubclass(kind, bytes):
            problem = f"column {shown(name)} holds bytes; decode them as text."
            raise DataError(path, problem)
        if hasattr(kind, "__len__") and not issubclass(kind, str):
            raise DataError(
                path,
                f"column {shown(name)} holds cells of type {kind.__name__}; expected numbers, text "
                "or dates: give each part a column of its own.",
            )


def _csv(path: Path, headless: bool, header: bool | None, decimal: str | None, ask: bool) -> Source:
    layout = layout_of(path, decimal)
    names = tuple(cell.strip() for cell in layout.rows[0]) if layout.rows else ()
    if not names:
        raise DataError(path, "expected a header and rows; the file is empty.")
    sign = "." if decimal is None and layout.delimiter == "," else decimal
    if header is None:
        header = not (headless and begins_with_a_row(path, layout, sign, ask))
        if header and any(map(is_finite, names)):
            problem = f"expected a header with the columns' names, got {listed(names)}."
            raise DataError(path, problem, line=layout.line)
    if not header and ask and decimal is None:
        check_one_comma(path, layout)
    ended = False
    if header and decimal == "," and len(names) == 1:
        check_decimal_comma(path, layout)
    if header:
        start = (layout.end, layout.line)
        ended = ends_in_a_delimiter(layout)
        names = names[: len(names) - ended]
    else:
        start = layout.start
        names = tuple(f"x{place + 1}" for place in range(len(names)))
    check_names(path, layout.line, names)
    rows = CsvRows(path, layout.delimiter, start, names, ended)
    return Source(names, "line", _chunks(rows.blocks), rows.blocks, sign)


def _chunks(blocks: Callable[[Sequence[int], Sequence[int], BadRows], Iterator[Block]]) -> Chunks:
    def chunks(chosen: Sequence[int], bad: BadRows) -> Iterator[tuple[list[int], list[Sequence]]]:
        for block in blocks((), tuple(dict.fromkeys(chosen)), bad):
            cells = [block.cells(place) for place in chosen]
            for start in range(0, len(block.rows), _ROWS):
                part = slice(start, start + _ROWS)
                yield block.rows[part].tolist(), [column[part] for column in cells]

    return chunks


def _parquet(path: Path, decimal: str) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(path, f"cannot be read as Parquet: {error}") from error
    names = tuple(file.schema_arrow.names)
    check_names(path, None, names)

    def blocks(numbers: Sequence[int], texts: Sequence[int], bad: BadRows) -> Iterator[Block]:
        done = 0
        wanted = [names[place] for place in (*numbers, *texts)]
        kinds = {field.name: field.type for field in file.schema_arrow}
        for name in wanted:
            _check_kind(path, name, kinds[name])
        places = {name: place for place, name in enumerate(names)}
        try:
            for batch in file.iter_batches(_PARQUET_ROWS, columns=wanted):
                batch.validate(full=True)
                named = zip(batch.schema.names, batch.columns, strict=True)
                found = {places[name]: column for name, column in named}
                if batch.num_rows:
                    rows = np.arange(done + 1, done + batch.num_rows + 1)
                    floats = {
                        place: bad.decimals.floats(names[place], rows, found[place])
                        if pa.types.is_string(found[place].type)
                        else as_floats(found[place])
                        for place in numbers
                    }
                    yield Block(path, rows, floats, found.__getitem__)
                done += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise DataError(path, f"cannot be read after row {done}: {error}") from error

    return Source(names, "row", _chunks(blocks), blocks, decimal)


def _check_kind(path: Path, name: str, kind: Any) -> None:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_nested(kind):
        problem = f"column {shown(name)} holds {kind}; expected text, numbers or dates."
        raise DataError(path, problem)
    if "binary" in str(kind):
        problem = f"column {shown(name)} holds bytes; write it as text, of pyarrow's pa.string()."
        raise DataError(path, problem)
