"""Rows of named columns for functions that save nothing: whole, in order, and where they lie."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from pullback._names import check_list

from ._frame import frame_of, is_file, is_frame


class Whole(NamedTuple):
    """Rows without holes.

    Attributes:
        values: columns side by side.
        names: of them.
        source: where they came from.
        notes: what was left out, in sentences.
    """

    values: Float[np.ndarray, "n d"]
    names: tuple[str, ...]
    source: str
    notes: list[str]


def whole_rows(x: Any, columns: Sequence[Any]) -> Whole:
    """These columns of an array, a data frame or a file, rows with holes left out.

    Raises:
        ValueError: a column is missing or text, or holds an infinity.
    """
    check_list("columns", columns)
    if is_file(x) or is_frame(x):
        frame = frame_of(x)
        names, source = tuple(map(str, columns)), frame.source
        missing = [name for name in names if name not in frame.names]
        if missing:
            raise ValueError(
                f"{source} has no column {missing[0]!r}; it has {', '.join(frame.names)}."
            )
        parts = [frame.column(name) for name in names]
        for name, part in zip(names, parts, strict=True):
            if part.dtype == object:
                raise ValueError(f"column {name!r} of {source} is text, and must be numbers.")
        values = np.stack(parts, axis=1)
    else:
        table = np.asarray(x, np.float64)
        if table.ndim != 2:
            raise ValueError(f"an array must have rows and columns; got {list(table.shape)}.")
        places = [*columns]
        if any(not isinstance(k, int | np.integer) or not 0 <= k < table.shape[1] for k in places):
            raise ValueError(
                f"columns of an array are places from 0 to {table.shape[1] - 1}; got {places}."
            )
        names, source = tuple(f"x{k + 1}" for k in places), "the array"
        values = table[:, places]
    if np.isinf(values).any():
        row, column = np.argwhere(np.isinf(values))[0]
        raise ValueError(f"column {names[column]!r} of {source} has an infinity in row {row + 1}.")
    kept = ~np.isnan(values).any(axis=1)
    notes = []
    if not kept.all():
        notes.append(f"{(~kept).sum()} of {len(values)} rows have holes and were left out.")
    return Whole(values[kept], names, source, notes)
