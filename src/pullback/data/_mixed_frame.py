"""A data frame's columns, by the rules by which those of a file are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pullback._names import check_list
from pullback.data._cells import BadRows
from pullback.data._csv import check_names
from pullback.data._mixed_table import MixedTable
from pullback.data._sources import check_frame_cells
from pullback.data._typed_cells import as_it_is, as_labels, as_text, typed

_EXACT = 2**53  # from here on two whole numbers may be one float


def mixed_frame(
    frame: Any, numbers: Sequence[str] | None = None, *, labels: Sequence[str] = ()
) -> MixedTable:
    """The columns of a data frame of pandas or polars, as `read_mixed` has those of a file.

    A cell of text is a hole, a number or neither as in a file. Columns of numbers stay as they are,
    but for whole ones that a float cannot tell apart, which are text; durations become days.

    Args:
        frame: the data frame.
        numbers: the names of columns that are asked for as numbers; of the others one with a cell
            that is no number is text; None: all.
        labels: columns of classes, where there are such; as `as_labels` has them.

    Returns:
        All rows and columns.

    Raises:
        DataError: two columns have one name; cells are bytes or lists; or a column most of whose
            cells are numbers has others.
        ValueError: a label may be a hole.

    Example:
        >>> import pandas
        >>> table = mixed_frame(pandas.DataFrame({"name": ["ann", "bob"], "weight": ["68", "NA"]}))
        >>> table.column("weight").tolist(), table.column("name").tolist()
        ([68.0, nan], ['ann', 'bob'])
    """
    check_list("numbers", numbers)
    check_list("labels", labels)
    path = Path(f"the {type(frame).__name__}")
    names = tuple(map(str, frame.columns))
    check_names(path, None, names)
    rows = np.arange(1, len(frame) + 1)
    bad = BadRows(path, "row")
    columns = []
    for name, called in zip(names, frame.columns, strict=True):
        found = np.asarray(frame[called])
        if found.ndim == 1 and found.dtype.kind in "biufmM":
            if name not in labels or found.dtype.kind in "mM":
                columns.append(_typed_by_frame(found))
                continue
            cells = found.tolist()
        else:
            cells = list(found) if found.ndim == 1 else list(frame[called])
        check_frame_cells(path, name, cells)
        if name in labels:
            columns.append(as_labels(cells))
            continue
        how = typed if numbers is None or name in numbers else as_it_is
        columns.append(how(cells, rows, name, bad))
    bad.check()
    return MixedTable(names, tuple(columns), rows, path.name)


def _typed_by_frame(found: np.ndarray) -> np.ndarray:
    kind = found.dtype.kind
    if kind == "m":
        return found / np.timedelta64(1, "D")
    if kind == "M":
        texts = found.astype(str).astype(object)
        texts[np.isnat(found)] = None
        return texts
    if kind in "iu" and bool(((found >= _EXACT) | (found <= -_EXACT)).any()):
        return as_text(found.tolist())
    return found.astype(np.float64)
