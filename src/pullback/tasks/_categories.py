"""Columns of text that name kinds, as codes and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback import data
from pullback._names import check_list
from pullback.data import MixedTable

from ._frame import cells_of, frame_of, is_file, is_frame

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
    check_list("columns", columns)
    asked = None if columns is None else [*map(str, columns)]
    frame = read_any(x, asked, id_column)
    levels, refused, coded = {}, {}, []
    for name, column in zip(frame.names, frame.columns, strict=True):
        coded.append(column)
        if column.dtype != object or name == id_column or data.looks_like_dates(column):
            continue
        if asked is not None and name not in asked:
            continue
        whole = [cell for cell in column if cell is not None]
        found = sorted(set(whole))
        if not found or (len(found) == len(whole) and asked is None):
            continue
        if len(found) > MOST:
            refused[name] = f"text of {len(found)} kinds, and may be of {MOST}"
            if asked is not None:
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
    """The columns of a file or of a data frame, of any kind; those that are named come first."""
    if isinstance(x, MixedTable) or not is_file(x) or columns is None:
        return frame_of(x)
    ids = [] if id_column is None else [id_column]
    return data.read_mixed(x, [], optional=[*columns, *ids], others=True)


def in_codes(x: Any, columns: Sequence[str], levels: Levels) -> Any:
    """The same of other rows; a kind that was not seen is -1.

    What is text is told by the model alone: of some rows all kinds may happen to be numbers.

    Args:
        x: the table.
        columns: those of the model.
        levels: the kinds of each column of text.

    Raises:
        ValueError: a column is missing.
    """
    if not levels or not (is_file(x) or is_frame(x)):
        return x
    frame = _with_texts(x, columns, levels)
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


def _with_texts(x: Any, columns: Sequence[str], levels: Levels) -> MixedTable:
    """A table of which the model's kinds are cells as they stand."""
    if isinstance(x, MixedTable):
        return x
    if is_file(x):
        numbers = [name for name in columns if name not in levels]
        parts = list(data.mixed_chunks(x, numbers, optional=[*levels]))
        read = tuple(np.concatenate(each) for each in zip(*(p.columns for p in parts), strict=True))
        return parts[0]._replace(columns=read, rows=np.concatenate([p.rows for p in parts]))
    frame = frame_of(x)
    read = tuple(
        cells_of(x, name) if name in levels else column
        for name, column in zip(frame.names, frame.columns, strict=True)
    )
    return frame._replace(columns=read)


def _codes(column: np.ndarray, levels: Sequence[str]) -> np.ndarray:
    places = {level: float(place) for place, level in enumerate(levels)}
    return np.asarray([_code(cell, places) for cell in column])


def _code(cell: Any, places: Mapping[str, float]) -> float:
    if cell is None or cell != cell:
        return np.nan
    code = places.get(str(cell))
    if code is None and not isinstance(cell, str):
        # Beside a hole, or a half, a whole number is a float.
        code = places.get(str(cell).removesuffix(".0"))
    return -1.0 if code is None else code
