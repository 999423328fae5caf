"""The classes or numbers that a table's rows have, given beside it or as one of its columns."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from pullback import data
from pullback._names import shown
from pullback.data import MixedTable

from ._frame import frame_of, is_file, is_frame


def with_target(
    x: Any,
    y: Any,
    label: str | None,
    columns: Sequence[Any] | None,
    id_column: str | None,
    *,
    classes: bool,
) -> tuple[Any, np.ndarray]:
    """The table without its column of targets, and the targets: y, or the column `label`.

    Args:
        x: the table.
        y: the targets, or None.
        label: the name of their column, or None.
        columns: the columns asked for.
        id_column: the column that only names the rows.
        classes: whether the targets name classes, and are no measured numbers.

    Raises:
        ValueError: both are given, or neither, or there is no such column; or a label is a word,
            such as NA, that may be a class or a hole.
    """
    if label is None:
        if y is None:
            raise ValueError(
                "fitting requires y to be passed, but the target y is None. Of a table with named "
                "columns `label` can name the one that is to be predicted (on the command line "
                "--label)."
            )
        return x, _classes_given(y) if classes else column_or_1d(y, warn=True)
    if y is not None:
        raise ValueError(f"give either `y` or `label`, not both; `label` is {label!r}.")
    if not (is_file(x) or is_frame(x)):
        raise ValueError(f"`label` is for named columns; an array has no {label!r}.")
    if isinstance(x, MixedTable) or is_frame(x):
        frame = frame_of(x, columns, id_column, labels=[label] if classes else [])
    else:
        frame = data.read_mixed(
            x,
            columns,
            optional=[*([] if classes else [label]), *([] if id_column is None else [id_column])],
            others=id_column is None,
            labels=[label] if classes else [],
        )
    if label not in frame.names:
        raise ValueError(
            f"there is no column {label!r} in {frame.source}; the columns are "
            f"{', '.join(frame.names)}."
        )
    if columns is not None and label in columns:
        raise ValueError(f"column {label!r} is the label, and cannot be one of `columns`.")
    kept = [place for place, name in enumerate(frame.names) if name != label]
    rest = frame._replace(
        names=tuple(frame.names[place] for place in kept),
        columns=tuple(frame.columns[place] for place in kept),
    )
    target = frame.column(label)
    if not classes and target.dtype == object:
        _refuse_text(target, f"column {shown(label)} of {frame.source}", frame.rows)
    whole = target.dtype != object and bool((np.isnan(target) | (target == np.round(target))).all())
    if whole and not np.isnan(target).any():
        target = target.astype(np.int64)
    return rest, target


def _classes_given(y: Any) -> np.ndarray:
    """Classes that are given beside a table; None where text is empty."""
    if isinstance(y, list | tuple) and any(isinstance(cell, str) for cell in y):
        # Beside text NumPy would make the text "nan" of a hole.
        y, given = np.empty(len(y), object), y
        y[:] = given
    found = column_or_1d(y, warn=True)
    if found.dtype.kind not in "OU":
        return found
    holes = np.asarray([isinstance(cell, str) and data.is_hole(cell) for cell in found], bool)
    for row in np.flatnonzero(holes).tolist():
        if found[row].strip():
            raise ValueError(
                f"row {row + 1} of `y` is of class {str(found[row])!r}, which may be one that is "
                "called so, or a hole; write None where a row has no class, and call a class "
                "otherwise."
            )
    if holes.any():
        found = found.astype(object)
        found[holes] = None
    return found


class Labels(NamedTuple):
    """Classes as numbers.

    Attributes:
        codes: of each row its place in `classes`, -1 where it is not known.
        classes: sorted, as they were given.
        notes: what was made of them, in sentences.
    """

    codes: Int[np.ndarray, " rows"]
    classes: np.ndarray
    notes: list[str]


def labels_of(y: np.ndarray) -> Labels:
    """The classes of rows; None, NaN and an empty cell are none, and so is -1 beside two others.

    Raises:
        ValueError: there are fewer than two classes, or they are measured numbers.
    """
    known = ~missing(y)
    notes = []
    if y.dtype.kind in "iuf" or (y.dtype == object and any(cell == -1 for cell in y[known])):
        none = known & (y == -1)
        others = {*y[known & ~none].tolist()}
        if none.any() and len(others) >= 2:
            known &= ~none
        elif none.any():
            notes.append(
                "-1 was taken for a class, as there are not two others; mark rows without a class "
                "by None or NaN."
            )
    values = y[known]
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError(f"`y` has an infinity in row {np.flatnonzero(np.isinf(y))[0] + 1}.")
    if values.dtype.kind == "f" and not known.all() and (values == np.round(values)).all():
        values = values.astype(np.int64)
    elif values.dtype == object:
        values = np.asarray(values.tolist())
    if not len(values):
        raise ValueError("expected rows of two classes or more; no row has a class.")
    if values.dtype.kind == "f" and (values != np.round(values)).any():
        raise ValueError(
            "the classes are measured numbers, Unknown label type: continuous; numbers are for a "
            "regression (on the command line `pullback fit regression`)."
        )
    check_classification_targets(values)
    classes, found = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            "expected rows of two classes or more; all that have one are of class "
            f"{classes.tolist()[0]!r}."
        )
    codes = np.full(len(y), -1)
    codes[known] = found
    return Labels(codes, classes, notes)


def codes_of(
    y: np.ndarray,
    classes: np.ndarray,
    *,
    rows: str = "the clean rows",
    who: str = "the table",
    remedy: str = "",
) -> Int[np.ndarray, " rows"]:
    """Of other rows the places of their classes, -1 where there is none.

    Args:
        y: what they are given as.
        classes: those that there are.
        rows: what the rows are called.
        who: what has the classes.
        remedy: what to do about one that is not among them.

    Raises:
        ValueError: one is not among the classes.
    """
    known = {name: place for place, name in enumerate(classes.tolist())}
    codes = np.full(len(y), -1)
    for row, (cell, gone) in enumerate(zip(y.tolist(), missing(y), strict=True)):
        if cell in known and not gone:
            codes[row] = known[cell]
        elif not gone and cell != -1:
            raise ValueError(
                f"row {row + 1} of {rows} is of class {cell!r}, and {who} has "
                f"{', '.join(map(repr, known))}{remedy}."
            )
    return codes


def numbers_of(y: np.ndarray) -> Float[np.ndarray, " rows"]:
    """The numbers of rows, NaN where there is none.

    Raises:
        ValueError: something is no number, or infinite.
    """
    if y.dtype == object:
        y = np.where(missing(y), np.nan, y)
    try:
        found = y.astype(np.float64)
    except (TypeError, ValueError):
        _refuse_text(y, "`y`", np.arange(1, len(y) + 1))
        raise
    if np.isinf(found).any():
        raise ValueError(f"`y` has an infinity in row {np.flatnonzero(np.isinf(found))[0] + 1}.")
    return found


def _refuse_text(y: np.ndarray, what: str, rows: np.ndarray) -> None:
    """Raise where something that is to be predicted is no number."""
    texts = [(row, cell) for row, cell in zip(rows.tolist(), y, strict=True) if not _fits(cell)]
    if texts:
        row, cell = texts[0]
        such = "1 cell is none" if len(texts) == 1 else f"{len(texts)} cells are none"
        raise ValueError(
            f"{what} is to be predicted, and must be numbers; {such}, the first on row {row}: "
            f"{shown(cell)}. Classes are for a classifier (on the command line `pullback fit "
            "classes`)."
        )


def _fits(cell: Any) -> bool:
    try:
        return cell is None or np.isscalar(float(cell))
    except (TypeError, ValueError):
        return False


def missing(y: np.ndarray) -> Bool[np.ndarray, " rows"]:
    """Which rows have no class: None, NaN and their kin."""
    if y.dtype == object:
        # pandas.NA says neither yes nor no when it is compared.
        gone = lambda cell: cell is None or type(cell).__name__ in ("NAType", "NaTType")
        return np.asarray([gone(cell) or cell != cell for cell in y], bool)
    return np.isnan(y) if y.dtype.kind in "fmM" else np.zeros(len(y), bool)
