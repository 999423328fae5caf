"""Columns that grow as a file is read, and rows that are looked up in parts of bounded size."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, Integer, Shaped

_LEAST = 1 << 16  # cells that a column begins with
_GROWTH = 8  # it grows by one of so many parts, so that no more is ever left empty
_AT_ONCE = 1 << 20  # rows


class Growing:
    """A column that takes cells as they come, and never holds them twice.

    >>> column = Growing(np.int32)
    >>> for part in ([1, 2], [3]):
    ...     column.append(np.array(part))
    >>> column.whole()
    array([1, 2, 3], dtype=int32)
    """

    def __init__(self, dtype: type[np.generic]) -> None:
        self._cells = np.empty(_LEAST, dtype)
        self._count = 0

    def append(self, cells: Shaped[np.ndarray, " n"]) -> None:
        end = self._count + len(cells)
        if end > len(self._cells):
            # In place, which a concatenation of parts is not.
            self._cells.resize(end + end // _GROWTH, refcheck=False)
        self._cells[self._count : end] = cells
        self._count = end

    def whole(self) -> Shaped[np.ndarray, " n"]:
        """All of it, when nothing is to follow."""
        self._cells.resize(self._count, refcheck=False)
        return self._cells


class RowNumbers:
    """The number of each row that was kept: as good as nothing while one follows the other.

    >>> rows = RowNumbers()
    >>> for part in ([2, 3, 4], [5, 9]):
    ...     rows.append(np.array(part))
    >>> [rows[place] for place in range(5)]
    [2, 3, 4, 5, 9]
    """

    def __init__(self) -> None:
        self._places, self._ahead = array("q"), array("q")
        self._last = self._count = 0

    def append(self, rows: Int[np.ndarray, " n"]) -> None:
        if not len(rows):
            return
        ahead = rows - self._count - np.arange(len(rows))
        turns = np.flatnonzero(np.diff(ahead, prepend=self._last))
        self._places.extend((self._count + turns).tolist())
        self._ahead.extend(ahead[turns].tolist())
        self._last = int(ahead[-1])
        self._count += len(rows)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> int:
        return place + self._ahead[bisect_right(self._places, place) - 1]


def by_users(users: Integer[np.ndarray, " ratings"]) -> Iterator[Int[np.ndarray, " some"]]:
    """The places of the ratings of some users after the other: all of each, and a bounded number.

    But for a user who has more than that by themselves.
    """
    if len(users) <= _AT_ONCE:
        yield np.arange(len(users))
        return
    ends = np.cumsum(np.bincount(users))
    low = 0
    while low < len(ends):
        before = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        found = []
        for start in range(0, len(users), _AT_ONCE):
            part = users[start : start + _AT_ONCE]
            found.append(start + np.flatnonzero((part >= low) & (part < high)))
        yield np.concatenate(found)
        low = high
