"""A table of the user's own with a column of labels, of which some may be missing."""

import functools
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback.data._cells import BadRows, numbers
from pullback.data._csv import choose_columns, leave_out
from pullback.data._errors import DataError
from pullback.data._sources import open_source


class LabelledTable(NamedTuple):
    """Numbers in columns, and a class for each row or none.

    Attributes:
        values: `[rows, columns]`.
        columns: the columns' names.
        rows: of each row the line of the CSV file, or its number from 1 on in another.
        label: the name of the column of labels.
        y: the classes, numbers from 0, and -1 where there is no label, `[rows]`.
        classes: their names, sorted.
    """

    values: Float[np.ndarray, "rows columns"]
    columns: tuple[str, ...]
    rows: Int[np.ndarray, " rows"]
    label: str
    y: Int[np.ndarray, " rows"]
    classes: tuple[str, ...]


def read_labelled(
    path: str | os.PathLike[str],
    label: str | None = None,
    columns: Sequence[str] | None = None,
) -> LabelledTable:
    """Read a table of numbers with a column of labels, which may have empty cells.

    A label is any text or number; rows without one are kept, as unlabelled. The other cells must
    all be numbers: every hole is named.

    Args:
        path: a CSV file with a header, in UTF-8, or a Parquet file (`.parquet`, `.pq`).
        label: the name of the column of labels; default the last.
        columns: the names of the columns to take, in this order; default all but `label`.

    Returns:
        The numbers as float64, the classes and their names.

    Raises:
        DataError: the file cannot be read or has no rows; a name is missing, double or unknown; a
            cell that is to be taken is empty, no number, NaN or infinite (the message has the first
            20 of them); or the labels are fewer than two classes.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.csv"
        >>> _ = file.write_text("height,weight,kind\\n1.71,68,b\\n1.64,59.5,\\n1.8,77,a\\n")
        >>> table = read_labelled(file, "kind", ["weight"])
        >>> table.values.ravel(), table.y, table.classes
        (array([68. , 59.5, 77. ]), array([ 1, -1,  0]), ('a', 'b'))
    """
    path = Path(path)
    source = open_source(path)
    named, label = label is not None, source.names[-1] if label is None else label
    if columns is None:
        choose_columns(path, tuple(n for n in source.names if n != label), None)
    names = tuple(n for n in source.names if n != label) if columns is None else tuple(columns)
    if label in names:
        raise DataError(path, f"column {label!r} is the label, and cannot be one of `columns`.")
    places = choose_columns(path, source.names, (label, *names))
    if not names:
        raise DataError(path, f"expected columns of numbers beside the label {label!r}; none.")
    remedy = functools.partial(_remedy, names, label, named)
    bad, rows, labels, blocks = BadRows(path, source.word, remedy), [], [], []
    for numbered, (cells, *rest) in source.chunks(places, bad):
        rows += numbered
        labels += ["" if cell is None else str(cell).strip() for cell in cells]
        found = zip(rest, names, strict=True)
        blocks.append(np.stack([numbers(c, numbered, name, bad) for c, name in found], axis=1))
        bad.check(at_end=False)
    bad.check()
    if not blocks:
        raise DataError(path, "expected rows after the header; there is none.")
    classes = tuple(sorted(set(labels) - {""}))
    if len(classes) < 2:
        got = f"{classes[0]!r} alone" if classes else "none"
        raise DataError(path, f"expected two or more labels in column {label!r}; got {got}.")
    code = {name: number for number, name in enumerate(classes)} | {"": -1}
    y = np.array([code[name] for name in labels])
    return LabelledTable(np.concatenate(blocks), names, np.asarray(rows), label, y, classes)


def _remedy(names: Sequence[str], label: str, named: bool, bad: Sequence[str]) -> str:
    told = leave_out(names, bad)
    if named:
        return told
    return (
        f"{told} The classes are taken from the last column, {label!r}; if they stand in column "
        f"{bad[0]!r}, say label={bad[0]!r} (--label {shlex.quote(bad[0])})."
    )
