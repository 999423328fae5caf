"""Columns of text that name kinds, as codes and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback import data
from pullback.data import MixedTable

from ._frame import frame_of, is_file, is_frame

MOST = 20  # kinds of a column of text

Levels = Mapping[str, Sequence[str]]


def with_codes(
    x: Any, columns: Sequence[Any] | None, id_column: str | None
) -> tuple[Any, dict[str, list[str]], dict[str, str]]:
    """A table whose columns of few kinds of text are numbers, from 0 on.

    Args:
        x: the table.
        columns: those asked for.
        id_column: the column that only names the rows.

    Returns:
        The table, as it was given where no column is such; the kinds of each that is; and why
        other columns of text are not.

    Raises:
        ValueError: a column that is asked for has more kinds.
    """
    if not (is_file(x) or is_frame(x)):
        return x, {}, {}
    frame = read_any(x, columns, id_column)
    levels, refused, coded = {}, {}, []
    for name, column in zip(frame.names, frame.columns, strict=True):
        coded.append(column)
        if column.dtype != object or name == id_column or data.looks_like_dates(column):
            continue
        whole = [cell for cell in column if cell is not None]
        found = sorted(set(whole))
        asked = columns is not None and name in columns
        if not found or (len(found) == len(whole) and not asked):
            continue
        if len(found) > MOST:
            refused[name] = f"text of {len(found)} kinds, and may be of {MOST}"
            if asked:
                raise ValueError(
                    f"column {name!r} of {frame.source} is {refused[name]}; join kinds that are "
                    "rare, or leave it out of `columns`."
                )
            continue
        levels[name] = found
        coded[-1] = _codes(column, found)
    if not levels and is_frame(x):
        return x, {}, refused
    return frame._replace(columns=tuple(coded)), levels, refused


def read_any(x: Any, columns: Sequence[Any] | None, id_column: str | None) -> MixedTable:
    """The columns of a file, of any kind, or only those that are named; or a data frame."""
    if isinstance(x, MixedTable) or not is_file(x) or columns is None:
        return frame_of(x)
    ids = [] if id_column is None else [id_column]
    return data.read_mixed(x, [], optional=[*columns, *ids])


def in_codes(x: Any, columns: Sequence[str], levels: Levels) -> Any:
    """The same of other rows; a kind that was not seen is -1.

    Args:
        x: the table.
        columns: those of the model.
        levels: the kinds of each column of text.

    Raises:
        ValueError: a column is missing.
    """
    if not levels or not (is_file(x) or is_frame(x)):
        return x
    frame = read_any(x, columns, None)
    missing = [name for name in levels if name not in frame.names]
    if missing:
        raise ValueError(
            f"{frame.source} lacks columns of which the model is: {', '.join(missing)}; it has "
            f"{', '.join(frame.names)}."
        )
    coded = [
        _codes(column, levels[name]) if name in levels else column
        for name, column in zip(frame.names, frame.columns, strict=True)
    ]
    return frame._replace(columns=tuple(coded))


def _codes(column: np.ndarray, levels: Sequence[str]) -> np.ndarray:
    places = {level: float(place) for place, level in enumerate(levels)}
    if column.dtype == object:
        cells = column.tolist()
    else:  # kinds that happen to be numbers in this table
        cells = [None if cell != cell else f"{cell:.17g}" for cell in column.tolist()]
    return np.asarray([np.nan if cell is None else places.get(cell, -1.0) for cell in cells])
