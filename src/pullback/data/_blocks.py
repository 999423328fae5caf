"""Some rows of a table, as columns of Arrow and of numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Float, Int

from pullback.data._csv import is_rounded
from pullback.data._errors import DataError
from pullback.data._holes import HOLES

pc: Any = pyarrow.compute  # its functions are made as it is loaded


class Block(NamedTuple):
    """Some rows of a file.

    Attributes:
        path: the file.
        rows: of each the line of the CSV file, or its number from 1 on in another.
        numbers: by the place of the column that was asked for, finite numbers with NaN for a hole;
            None where a cell is neither, which is then to be looked at by `cells`.
        column: the cells of a column as an array of Arrow: of a CSV file all are text.
    """

    path: Path
    rows: Int[np.ndarray, " rows"]
    numbers: Mapping[int, Float[np.ndarray, " rows"] | None]
    column: Callable[[int], Any]

    def cells(self, place: int) -> list:
        """The cells of a column as Python has them."""
        column = self.column(place)
        try:
            if pa.types.is_timestamp(column.type):
                # Nanoseconds and foreign zones have no Python datetime without pandas or a zone
                # database.
                zone = None if column.type.tz is None else "UTC"
                column = column.cast(pa.timestamp("us", zone), safe=False)
            return column.to_pylist()
        except (pa.ArrowException, ValueError, OverflowError) as error:
            rows = f"rows {self.rows[0]} to {self.rows[-1]}"
            raise DataError(self.path, f"{rows} have cells that cannot be read: {error}") from error


def as_floats(column: Any) -> Float[np.ndarray, " rows"] | None:
    """A column of Arrow as finite numbers with NaN for a hole; None where a cell is neither."""
    kind = column.type
    # As text NaN is a hole, and in a file of numbers too.
    text = None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_trim_whitespace(column)
        holes = pc.is_in(pc.utf8_lower(text), value_set=pa.array(HOLES, kind))
        column = pc.if_else(holes, pa.scalar(None, kind), text)
    elif pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    elif not pa.types.is_integer(kind):
        return None
    try:
        # Of whole numbers from 2^53 on those that a float64 holds are found one by one.
        column = column.cast(pa.float64(), safe=pa.types.is_integer(kind))
    except pa.ArrowException:
        return None
    found = finite(column)
    if text is None or found is None or not has_large(found):
        return found
    whole = pc.filter(text, pc.match_substring_regex(text, r"^[+-]?\d{16,}$"))
    return None if any(map(is_rounded, whole.to_pylist())) else found


def has_large(found: Float[np.ndarray, " rows"]) -> bool:
    """Whether there may be whole numbers that are others as float64."""
    return bool((np.abs(found) >= 2**53).any())


def finite(column: Any) -> Float[np.ndarray, " rows"] | None:
    """Numbers of Arrow with NaN for what is null; None where one is not finite."""
    holes = column.null_count
    if holes:
        column = pc.fill_null(column, np.nan)
    # `to_numpy` loads pandas.
    found = np.frombuffer(column.buffers()[1], np.float64, len(column), 8 * column.offset)
    return found if np.count_nonzero(np.isfinite(found)) == len(found) - holes else None
