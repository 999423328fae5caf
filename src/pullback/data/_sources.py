"""Columns of cells from CSV and from Parquet files, some rows at a time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pullback._names import listed
from pullback.data._blocks import Block, as_floats
from pullback.data._cells import BadRows
from pullback.data._csv import check_names, layout_of, to_number
from pullback.data._csv_blocks import CsvRows
from pullback.data._errors import DataError

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
    """

    names: tuple[str, ...]
    word: str
    chunks: Chunks
    blocks: Callable[[Sequence[int], Sequence[int], BadRows], Iterator[Block]] | None = None


def open_source(path: Path, *, headless: bool = False) -> Source:
    """The rows of a CSV file, or of a Parquet file if its name ends so.

    With `headless` a CSV file may begin with a row of numbers; its columns are x1, x2, and so on.
    """
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise DataError(path, "is a spreadsheet; save the sheet as CSV (UTF-8).")
    parquet = path.suffix.lower() in (".parquet", ".pq")
    return _parquet(path) if parquet else _csv(path, headless)


def frame_source(frame: Any) -> Source:
    """The rows of a data frame of pandas or polars."""
    names = tuple(map(str, frame.columns))
    check_names(Path(f"the {type(frame).__name__}"), None, names)

    def chunks(chosen: Sequence[int], bad: BadRows) -> Iterator[tuple[list[int], list[Sequence]]]:
        columns = [frame[frame.columns[place]] for place in chosen]
        for start in range(0, len(frame), _ROWS):
            parts = [column[start : start + _ROWS].to_list() for column in columns]
            yield list(range(start + 1, start + 1 + len(parts[0]))), parts

    return Source(names, "row", chunks)


def _csv(path: Path, headless: bool) -> Source:
    layout = layout_of(path)
    names = tuple(cell.strip() for cell in layout.rows[0]) if layout.rows else ()
    if not names:
        raise DataError(path, "expected a header and rows; the file is empty.")
    start = (layout.end, layout.line)
    if headless and any(to_number(name) is not None for name in names):
        start = layout.start
        names = tuple(f"x{place + 1}" for place in range(len(names)))
    if any(to_number(name) is not None for name in names):
        problem = f"expected a header with the columns' names, got {listed(names)}."
        raise DataError(path, problem, line=layout.line)
    check_names(path, layout.line, names)
    rows = CsvRows(path, layout.delimiter, start, len(names))
    return Source(names, "line", _chunks(rows.blocks), rows.blocks)


def _chunks(blocks: Callable[[Sequence[int], Sequence[int], BadRows], Iterator[Block]]) -> Chunks:
    def chunks(chosen: Sequence[int], bad: BadRows) -> Iterator[tuple[list[int], list[Sequence]]]:
        for block in blocks((), tuple(dict.fromkeys(chosen)), bad):
            cells = [block.cells(place) for place in chosen]
            for start in range(0, len(block.rows), _ROWS):
                part = slice(start, start + _ROWS)
                yield block.rows[part].tolist(), [column[part] for column in cells]

    return chunks


def _parquet(path: Path) -> Source:
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
        for name in wanted:
            _check_kind(path, name, file.schema_arrow.field(name).type)
        try:
            for batch in file.iter_batches(_PARQUET_ROWS, columns=wanted):
                found = {names.index(name): batch.column(name) for name in wanted}
                if batch.num_rows:
                    rows = np.arange(done + 1, done + batch.num_rows + 1)
                    floats = {place: as_floats(found[place]) for place in numbers}
                    yield Block(rows, floats, found.__getitem__)
                done += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise DataError(path, f"cannot be read after row {done}: {error}") from error

    return Source(names, "row", _chunks(blocks), blocks)


def _check_kind(path: Path, name: str, kind: Any) -> None:
    import pyarrow as pa

    if pa.types.is_nested(kind):
        problem = f"column {name!r} holds {kind}; expected text, numbers or dates."
        raise DataError(path, problem)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        problem = f"column {name!r} holds bytes; write it as text, of pyarrow's pa.string()."
        raise DataError(path, problem)
