"""Rows and columns brought to one of a few numbers, so that a compiled program is found again."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

CHUNK = 1024  # rows that a program is asked of at once


class Padded(NamedTuple):
    """Places of rows, each repeated as often as the next, give or take one, and weights.

    Attributes:
        places: of the rows, `[size]`.
        weights: of mean 1, by which every row counts the same.
    """

    places: Int[np.ndarray, " size"]
    weights: Float[np.ndarray, " size"]


def padded(count: int, least: int) -> Padded:
    """`count` rows as the next power of two, `least` or more.

    Example:
        >>> found = padded(100, 256)
        >>> found.places.shape, float(found.weights[found.places == 0].sum()).__round__(3)
        ((256,), 2.56)
    """
    size = max(least, power_of_two(count))
    places = np.arange(size) % count
    return Padded(places, (size / count) / np.bincount(places)[places])


def power_of_two(count: int) -> int:
    """The next power of two, 2 or more."""
    return max(2, 1 << (count - 1).bit_length())


def in_chunks(
    function: Callable[[np.ndarray], Any], rows: Shaped[np.ndarray, "n ..."], size: int = CHUNK
) -> Shaped[np.ndarray, "n ..."]:
    """What a function gives of each row, which is always asked of `size` rows at once.

    So that of a row is the same to the bit, whatever else is asked at the same time.
    """
    parts = []
    for start, stop in chunks(len(rows), size):
        part = rows[start:stop]
        filled = np.concatenate([part, np.repeat(part[:1], size - len(part), axis=0)])
        parts.append(np.asarray(function(filled))[: stop - start])
    return np.concatenate(parts) if parts else np.zeros(0)


def chunks(count: int, size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """Ends of pieces of at most so many rows."""
    return ((start, min(start + size, count)) for start in range(0, count, size))
