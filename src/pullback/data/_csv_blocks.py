"""The rows of CSV files: by Arrow, or by Python where Arrow might take them for something else."""

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow
from jaxtyping import Int

from pullback._names import shown
from pullback.data._blocks import Block, finite, has_large, pc
from pullback.data._cells import BadRows
from pullback.data._csv import rows_of
from pullback.data._holes import HOLES
from pullback.data._text import open_utf8

_BYTES = 2**22
_PARSED = 2**20  # bytes that Arrow parses at once; no line may be longer
_LONG = 2**16  # bytes of a line; csv has no cell of more than twice as many letters
_ROWS = 2**15
# Arrow knows the words for a hole as it is told them; in other letters, they are found in text.
_HOLES = sorted({each for hole in HOLES for each in (hole, hole.upper(), hole.title(), "NaN")})


class CsvRows(NamedTuple):
    """The rows of a CSV file.

    Attributes:
        path: the file.
        delimiter: what stands between cells.
        start: the bytes of UTF-8, and the lines, before the first row.
        names: of the columns.
        ended: whether behind the last column each row has a cell more, with nothing in it.
    """

    path: Path
    delimiter: str
    start: tuple[int, int]
    names: tuple[str, ...]
    ended: bool = False

    @property
    def width(self) -> int:
        return len(self.names) + self.ended

    def blocks(self, numbers: Sequence[int], texts: Sequence[int], bad: BadRows) -> Iterator[Block]:
        """As `Source.blocks`."""
        last = len(self.names)
        for block in self._blocks(numbers, (*texts, last) if self.ended else texts, bad):
            if self.ended and _has_more_than_blanks(block.column(last)):
                for row, cell in zip(block.rows.tolist(), block.cells(last), strict=True):
                    if cell.strip():
                        expected = f"nothing behind the last {self.delimiter!r}, as in the header"
                        bad.add(row, f"expected {expected}; got {shown(cell)}.")
            yield block

    def _blocks(
        self, numbers: Sequence[int], texts: Sequence[int], bad: BadRows
    ) -> Iterator[Block]:
        skipped, line = self.start
        with open_utf8(self.path) as file:
            _skip(file, skipped)
            rest = b""
            while data := rest + file.read(_BYTES):
                at_end = len(data) < len(rest) + _BYTES
                cut = len(data) if at_end else data.rfind(b"\n") + 1
                data, rest = data[:cut], data[cut:]
                if not (data and _has_plain_lines(data, self.delimiter)):
                    # Where a row ends depends on all that is before it.
                    yield from self._slow(data + rest, file, line, numbers, texts, bad)
                    return
                if not data.isascii():
                    data.decode()  # raises where it is not in UTF-8
                block = self._quick(data, line, numbers, texts, bad)
                if block is None:
                    yield from self._slow(data, io.BytesIO(), line, numbers, texts, bad)
                elif len(block.rows):
                    yield block
                line += _newlines(data)

    def _quick(
        self, data: bytes, line: int, numbers: Sequence[int], texts: Sequence[int], bad: BadRows
    ) -> Block | None:
        """Whole lines by Arrow; None where it may take them for something else."""
        if _has_a_long_line(data):
            return None
        found = None
        # Where commas may be anything, each number is looked at as text.
        if bad.decimals.sign is not None or b"," not in data:
            found = self._parsed(data, numbers, texts, bad.decimals.sign)
        if found is None:
            found = self._parsed(data, (), (*numbers, *texts))
        if found is None:
            return None
        rows = _numbers_of_rows(data, line, len(next(iter(found.values()))))
        if rows is None:
            return None
        if self.width == 1 and _has_blank(found[0]):
            return None  # of one column a line of nothing but spaces is blank

        def column(place: int) -> Any:
            if place in found and pa.types.is_string(found[place].type):
                return found[place]
            again = self._parsed(data, (), (place,))
            assert again is not None  # it could be parsed before
            return again[place]

        floats = {}
        for place in numbers:
            name = self.names[place]
            if pa.types.is_floating(found[place].type):
                floats[place] = part = finite(found[place])
                shows = bad.decimals.sign is None and b"." in data
                if (shows and not bad.decimals.has_points(name)) or (
                    part is not None and has_large(part)
                ):
                    floats[place] = bad.decimals.floats(name, rows, column(place))
            else:
                floats[place] = bad.decimals.floats(name, rows, found[place])
        return Block(self.path, rows, floats, column)

    def _parsed(
        self,
        data: bytes,
        numbers: Sequence[int],
        texts: Sequence[int],
        decimal: str | None = None,
    ) -> dict[int, Any] | None:
        kinds = {str(place): pa.float64() for place in numbers}
        kinds |= {str(place): pa.string() for place in texts}
        try:
            table = arrow.read_csv(
                pa.BufferReader(data),
                arrow.ReadOptions(
                    column_names=[str(place) for place in range(self.width)], block_size=_PARSED
                ),
                arrow.ParseOptions(delimiter=self.delimiter),
                arrow.ConvertOptions(
                    check_utf8=False,
                    decimal_point=decimal or ".",
                    column_types=kinds,
                    include_columns=list(kinds),
                    null_values=_HOLES,
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        # Arrow looks for a name among all.
        named = zip(table.column_names, table.columns, strict=True)
        return {int(name): column.combine_chunks() for name, column in named}

    def _slow(
        self,
        data: bytes,
        rest: io.BufferedIOBase,
        line: int,
        numbers: Sequence[int],
        texts: Sequence[int],
        bad: BadRows,
    ) -> Iterator[Block]:
        """The rows of these bytes, and of what follows on them, by Python."""
        lines = io.TextIOWrapper(
            io.BufferedReader(_Chained(data, rest)), encoding="utf-8", newline=""
        )
        rows = rows_of(self.path, lines, self.delimiter, line)
        while some := list(islice(rows, _ROWS)):
            whole = [row for row in some if len(row[1]) == self.width]
            if len(whole) < len(some):
                for at, cells in some:
                    if len(cells) != self.width:
                        bad.width(at, len(self.names), cells)
            if whole:
                columns = list(zip(*(cells for _, cells in whole), strict=True))
                found = {
                    place: pa.array(columns[place], pa.string()) for place in (*numbers, *texts)
                }
                numbered = np.array([at for at, _ in whole])
                floats = {
                    place: bad.decimals.floats(self.names[place], numbered, found[place])
                    for place in numbers
                }
                yield Block(self.path, numbered, floats, found.__getitem__)


class _Chained(io.RawIOBase):
    """Bytes, and a file behind them."""

    def __init__(self, data: bytes, rest: io.BufferedIOBase) -> None:
        super().__init__()
        self._data, self._rest = io.BytesIO(data), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._data.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def _skip(file: io.BufferedIOBase, count: int) -> None:
    while count and (passed := file.read(min(count, _BYTES))):
        count -= len(passed)


def _has_plain_lines(data: bytes, delimiter: str) -> bool:
    """Whether each line is a row, in which quotation marks stand around whole cells alone."""
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        return False
    if b'"' not in data:
        return True
    letters = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    quotes = np.flatnonzero(letters == ord('"'))
    if len(quotes) % 2:
        return False
    opened, closed = quotes[::2], quotes[1::2]
    ends = np.flatnonzero(letters == ord("\n"))
    before, behind = (np.zeros(256, bool) for _ in range(2))
    before[[ord("\n"), ord(delimiter)]] = True
    behind[[ord("\n"), ord("\r"), ord(delimiter)]] = True
    whole = before[letters[opened - 1]] & behind[letters[closed + 1]]
    return bool(
        whole.all() and (np.searchsorted(ends, opened) == np.searchsorted(ends, closed)).all()
    )


def _has_a_long_line(data: bytes) -> bool:
    """Whether a line may be too long to be read at once."""
    starts = range(0, len(data) - _LONG, _LONG)
    return any(data.find(b"\n", start, start + _LONG) < 0 for start in starts)


def _newlines(data: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))  # `count` is slow


def _numbers_of_rows(data: bytes, line: int, count: int) -> Int[np.ndarray, " rows"] | None:
    """Where `line` went before, the lines that are not blank; None if these are not so many."""
    if _newlines(data) + (not data.endswith(b"\n")) == count:
        return np.arange(line + 1, line + 1 + count)
    letters = np.frombuffer(data + b"\n", np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    lengths = np.diff(ends, prepend=-1) - 1
    blank = (lengths == 0) | ((lengths == 1) & (letters[ends - 1] == ord("\r")))
    rows = line + 1 + np.flatnonzero(~blank)
    return rows if len(rows) == count else None


def _has_blank(column: Any) -> bool:
    if not pa.types.is_string(column.type):
        return column.null_count > 0
    return bool(pc.any(pc.equal(pc.utf8_trim_whitespace(column), "")).as_py())


def _has_more_than_blanks(column: Any) -> bool:
    return bool(pc.any(pc.not_equal(pc.utf8_trim_whitespace(column), "")).as_py())
