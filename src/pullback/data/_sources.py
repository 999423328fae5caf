"""Columns of cells from CSV and from Parquet files, some rows at a time."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from pullback.data._cells import BadRows
from pullback.data._csv import check_names, csv_rows, to_number
from pullback.data._errors import DataError

_ROWS = 2048


class Source(NamedTuple):
    """A file of rows.

    Attributes:
        names: of its columns.
        word: what a row is counted in, "line" or "row".
        chunks: for the places of some columns, the number of each row and those columns' cells.
    """

    names: tuple[str, ...]
    word: str
    chunks: Callable[[Sequence[int], BadRows], Iterator[tuple[list[int], list[Sequence]]]]


def open_source(path: Path, *, headless: bool = False) -> Source:
    """The rows of a CSV file, or of a Parquet file if its name ends so.

    With `headless` a CSV file may begin with a row of numbers; its columns are x1, x2, and so on.
    It is a table, of which a row that has nothing in its cells is a row.
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
    rows = csv_rows(path, empty=headless)
    line, header = next(rows, (0, []))
    names = tuple(cell.strip() for cell in header)
    if not names:
        raise DataError(path, "expected a header and rows; the file is empty.")
    if headless and any(to_number(name) is not None for name in names):
        rows = chain([(line, header)], rows)
        names = tuple(f"x{place + 1}" for place in range(len(names)))
    if any(to_number(name) is not None for name in names):
        raise DataError(path, f"expected a header with the columns' names, got {names}.", line=line)
    check_names(path, line, names)

    def chunks(chosen: Sequence[int], bad: BadRows) -> Iterator[tuple[list[int], list[Sequence]]]:
        while block := list(islice(rows, _ROWS)):
            whole = [row for row in block if len(row[1]) == len(names)]
            if len(whole) < len(block):
                for line, cells in block:
                    if len(cells) != len(names):
                        bad.add(line, f"expected {len(names)} cells, got {len(cells)}.")
            columns = list(zip(*(cells for _, cells in whole), strict=True))
            if columns:
                yield [line for line, _ in whole], [columns[place] for place in chosen]

    return Source(names, "line", chunks)


def _parquet(path: Path) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(path, f"cannot be read as Parquet: {error}") from error
    names = tuple(file.schema_arrow.names)
    check_names(path, None, names)

    def chunks(chosen: Sequence[int], bad: BadRows) -> Iterator[tuple[list[int], list[Sequence]]]:
        done = 0
        wanted = [names[place] for place in chosen]
        for name in wanted:
            kind = file.schema_arrow.field(name).type
            if pa.types.is_nested(kind):
                problem = f"column {name!r} holds {kind}; expected text, numbers or dates."
                raise DataError(path, problem)
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                problem = (
                    f"column {name!r} holds bytes; write it as text, of pyarrow's pa.string()."
                )
                raise DataError(path, problem)
        try:
            for batch in file.iter_batches(_ROWS, columns=wanted):
                cells = {name: _cells(batch.column(name)) for name in wanted}
                if batch.num_rows:
                    rows = list(range(done + 1, done + batch.num_rows + 1))
                    yield rows, [cells[names[place]] for place in chosen]
                done += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise DataError(path, f"cannot be read after row {done}: {error}") from error

    return Source(names, "row", chunks)


def _cells(column) -> list:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        # Nanoseconds and foreign zones have no Python datetime without pandas or a zone database.
        zone = None if column.type.tz is None else "UTC"
        column = column.cast(pa.timestamp("us", zone), safe=False)
    return column.to_pylist()
