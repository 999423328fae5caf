"""What a task is given: an array, a data frame or a file, as columns of numbers and the others."""

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from pullback import data
from pullback._names import check_list
from pullback.data import MixedTable

_ID = re.compile(r"(.*[_ .-])?(id|idx|index|row|key|no|nr|number|uuid|guid)", re.IGNORECASE)
# What pandas calls an index when it writes Parquet, and when it reads a CSV file that has one.
_INDEX = ("__index_level_", "Unnamed: ")
_NAMES = "it only names the rows"


def is_file(x: Any) -> bool:
    """Whether data are a file's name, or what was read of one."""
    return isinstance(x, str | os.PathLike | MixedTable)


def is_frame(x: Any) -> bool:
    """Whether data have named columns, as those of pandas and of polars have."""
    return data.is_data_frame(x)


def frame_of(
    x: Any,
    numbers: Sequence[str] | None = None,
    id_column: str | None = None,
    *,
    others: bool = False,
    labels: Sequence[str] = (),
) -> MixedTable:
    """The columns of a file, or only some of numbers and the one of ids, or all of a data frame.

    With `others` what is left of a file is taken as it stands. `labels` are columns of classes of a
    data frame.
    """
    if isinstance(x, MixedTable):
        return x
    if is_file(x):
        ids = [] if id_column is None else [id_column]
        return data.read_mixed(x, numbers, optional=ids, others=others)
    return data.mixed_frame(x, numbers, labels=labels)


def cells_of(frame: Any, name: str) -> np.ndarray:
    """The cells of a column of a data frame as they stand, None where there is a hole."""
    by_text = dict(zip(map(str, frame.columns), frame.columns, strict=True))
    cells = [None if data.is_hole(cell) else cell for cell in frame[by_text[name]]]
    cells = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
    found = np.empty(len(cells), object)
    found[:] = cells
    return found


class Choice(NamedTuple):
    """Which columns a model is of.

    Attributes:
        used: the names of the columns of numbers that are taken.
        id: the name of the column that only names the rows, or None.
        left_out: of each column that is not taken, why.
    """

    used: tuple[str, ...]
    id: str | None
    left_out: dict[str, str]


def choose(frame: MixedTable, columns: Sequence[str] | None, id_column: str | None) -> Choice:
    """The columns of numbers, or those that are asked for.

    Args:
        frame: the table.
        columns: the names of those to take; None takes what can be taken.
        id_column: the name of the column that only names the rows; None looks for one.

    Raises:
        ValueError: a name is not that of a column, or one that is asked for has no numbers or only
            names the rows, or none is left.
    """
    check_list("columns", columns)
    asked = None if columns is None else tuple(columns)
    for name in (*(asked or ()), *([] if id_column is None else [id_column])):
        if name not in frame.names:
            raise ValueError(
                f"there is no column {name!r} in {frame.source}; the columns are "
                f"{', '.join(frame.names)}."
            )
    if id_column is not None and id_column in (asked or ()):
        raise ValueError(
            f"column {id_column!r} is in `columns`, and only names the rows by `id_column`; leave "
            "it out of one of them."
        )
    used, left_out = [], {}
    for name, column in zip(frame.names, frame.columns, strict=True):
        why = _why_not(name, column, id_column)
        if asked is not None and (name in asked or why != _NAMES):
            why = None if name in asked else "not asked for"
        if why is not None:
            left_out[name] = why
            if why == _NAMES and id_column is None:
                id_column = name
        elif column.dtype == object:
            raise ValueError(
                f"column {name!r} of {frame.source} is text, and must be numbers; leave it out of "
                "`columns` (on the command line --columns)."
            )
        else:
            used.append(name)
    if not used:
        told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise ValueError(f"{frame.source} has no column of numbers that can be taken ({told}).")
    return Choice(tuple(used if asked is None else asked), id_column, left_out)


def _why_not(name: str, column: np.ndarray, id_column: str | None) -> str | None:
    """Why a column is not taken, or None where it is."""
    if name in ("", id_column) or name.startswith(_INDEX):
        return _NAMES
    if column.dtype == object:
        if data.looks_like_dates(column):
            return "dates; as numbers they would be, say, days from the first"
        whole = [cell for cell in column if cell is not None]
        distinct = len(whole) > 1 and len(set(whole)) == len(whole)
        return _NAMES if distinct else "text"
    whole = column[~np.isnan(column)]
    if not len(whole):
        return "it is empty"
    named = _ID.fullmatch(name.strip()) is not None
    distinct = len(whole) > 1 and len(np.unique(whole)) == len(whole)
    if named and distinct and bool((whole == np.round(whole)).all()):
        return _NAMES
    return None


def matrix_of(frame: MixedTable, names: Sequence[str]) -> Float[np.ndarray, "rows columns"]:
    """Columns of numbers side by side."""
    missing = [name for name in names if name not in frame.names]
    if missing:
        raise ValueError(
            f"{frame.source} lacks columns of which the model is: {', '.join(missing)}; it has "
            f"{', '.join(frame.names)}."
        )
    taken = []
    for name in names:
        column = frame.columns[frame.names.index(name)]
        if column.dtype == object:
            if any(cell is not None for cell in column):
                raise ValueError(f"column {name!r} of {frame.source} is text, and must be numbers.")
            column = np.full(len(column), np.nan)
        taken.append(column)
    return np.stack(taken, axis=1)
