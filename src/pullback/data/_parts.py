"""Some rows of a file or a data frame, of which each column is asked for in the way it is used."""

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from pullback.data._blocks import Block, pc
from pullback.data._cells import BadRows, numbers
from pullback.data._sources import Source

# Microseconds from 1970 to the first and to behind the last date that Python knows.
_DATES = (-62_135_596_800_000_000, 253_402_300_800_000_000)


_NANOSECONDS = re.compile(r":\d\d[.,]\d{6}0*[1-9]")  # behind the microseconds


class Part(NamedTuple):
    """Some rows of a table.

    Attributes:
        rows: the number of each.
        block: their columns, of a file.
        lists: the cells of their columns, of a data frame.
    """

    rows: Int[np.ndarray, " rows"]
    block: Block | None = None
    lists: Mapping[int, Sequence] | None = None

    def cells(self, place: int) -> Sequence:
        """The cells of a column as Python has them."""
        if self.block is not None:
            return self.block.cells(place)
        assert self.lists is not None
        return self.lists[place]

    def floats(self, place: int) -> Float[np.ndarray, " rows"] | None:
        """A column of numbers with NaN for a hole; None where its cells are to be looked at."""
        return None if self.block is None else self.block.numbers[place]

    def numbers(self, place: int, column: str, bad: BadRows) -> Float[np.ndarray, " rows"]:
        """A column of finite numbers; NaN, and a bad row, where a cell is none."""
        found = self.floats(place)
        if found is None or np.isnan(found).any():
            return numbers(self.cells(place), self.rows.tolist(), column, bad)
        bad.with_numbers.add(column)
        return found

    def coded(self, place: int) -> tuple[Sequence, Int[np.ndarray, " rows"]]:
        """The different cells of a column, in the order in which they come, and which each is."""
        if self.block is not None:
            column = self.block.column(place)
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)  # it may have others, in any order
            if _is_plain(column.type):
                return _coded(column)
        cells = self.cells(place)
        found: dict[Hashable, int] = {}
        codes = [found.setdefault(cell, len(found)) for cell in cells]
        return list(found), np.asarray(codes, np.int64)

    def is_text(self, place: int) -> bool:
        """Whether a column of a file is one of text."""
        kind = None if self.block is None else self.block.column(place).type
        return kind is not None and (pa.types.is_string(kind) or pa.types.is_large_string(kind))

    def has_nanoseconds(self, place: int) -> bool:
        """Whether a time in a column says more than microseconds."""
        if self.block is not None and _is_date(self.block.column(place).type):
            column = self.block.column(place)
            kind = column.type
            coarse = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
            return not coarse.cast(kind, safe=False).equals(column)
        cells = {*self.cells(place)}
        return any(
            _NANOSECONDS.search(cell) is not None
            if isinstance(cell, str)
            else bool(getattr(cell, "nanosecond", 0))
            for cell in cells
        )

    def moments(self, place: int, zoned: bool) -> Int[np.ndarray, " rows"] | None:
        """A column of dates in ISO 8601, with a zone or without, as microseconds since 1970.

        None where its cells are to be looked at.
        """
        if self.block is None:
            return None
        column = self.block.column(place)
        kind = column.type
        is_text = self.is_text(place)
        if is_text:
            column = pc.utf8_trim_whitespace(column)
        elif not _is_date(kind):
            return None
        try:
            # Of nanoseconds only the microseconds count, as in Python's dates.
            column = column.cast(pa.timestamp("us", "UTC" if zoned else None), safe=is_text)
        except pa.ArrowInvalid:
            return None
        found = _whole_numbers(column.cast(pa.int64()))
        if column.null_count or not len(found):
            return None
        inside = _DATES[0] <= int(found.min()) and int(found.max()) < _DATES[1]
        return found if inside else None


def parts(
    source: Source, numeric: Sequence[int], others: Sequence[int], bad: BadRows
) -> Iterator[Part]:
    """The rows of a file or a data frame, some at a time.

    Args:
        source: of the rows.
        numeric: the places of columns that may be numbers.
        others: the places of other columns.
        bad: where rows of another length are told.
    """
    if source.blocks is not None:
        for block in source.blocks(numeric, others, bad):
            yield Part(block.rows, block)
        return
    places = [*numeric, *others]
    for rows, columns in source.chunks(places, bad):
        yield Part(np.asarray(rows), lists=dict(zip(places, columns, strict=True)))


def _is_plain(kind: Any) -> bool:
    """Whether Python has the cells as Arrow has them, and two are the same for both or neither."""
    types = pa.types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind)


def _is_date(kind: Any) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _coded(column: Any) -> tuple[list, Int[np.ndarray, " rows"]]:
    encoded = column.dictionary_encode(null_encoding="encode")
    return encoded.dictionary.to_pylist(), _whole_numbers(encoded.indices.cast(pa.int64()))


def _whole_numbers(column: Any) -> Int[np.ndarray, " rows"]:
    """As NumPy has them, without pandas, which `to_numpy` loads."""
    return np.frombuffer(column.buffers()[1], np.int64, len(column), 8 * column.offset)
