"""The rows that a task is given, as the columns that its model is of."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.utils.validation import validate_data

from pullback._names import check_list, listed
from pullback.data import MixedTable

from ._frame import choose, frame_of, is_file, is_frame, matrix_of


class Taken(NamedTuple):
    """Columns of numbers.

    Attributes:
        values: `[rows, columns]`, NaN where there is a hole.
        names: of the columns.
        places: of the columns in what was given.
        rows: the line of each row in a CSV file, else its number from 1 on.
        source: the name of the file, or what else the rows came from.
        is_file: whether it is one.
    """

    values: Float[np.ndarray, "rows columns"]
    names: tuple[str, ...]
    places: Sequence[int]
    rows: Int[np.ndarray, " rows"]
    source: str
    is_file: bool

    def whole(self) -> Float[np.ndarray, "whole columns"]:
        """The rows without holes.

        Raises:
            ValueError: fewer than two are whole.
        """
        holes = np.isnan(self.values)
        whole = np.flatnonzero(~holes.any(axis=1))
        if len(whole) < 2:
            held = self._holes()
            empty = [self.names[k] for k in np.flatnonzero(holes.all(axis=0))]
            told = f"; without any value is {listed(empty)}" if empty and len(holes) > 1 else ""
            remedy = "columns without values" if told else "columns with many holes"
            remedy = f" ({held}{told}). Leave out {remedy} by `columns`." if held else "."
            raise ValueError(
                f"expected two or more rows without holes; {len(whole)} of "
                f"{len(self.values)} are whole{remedy}"
            )
        return self.values[whole]

    def notes(self) -> list[str]:
        """What is left out of the rows, in sentences."""
        bad = np.flatnonzero(np.isnan(self.values).any(axis=1))
        if not len(bad):
            return []
        first = ", ".join(map(str, self.rows[bad[:5]]))
        return [
            f"{len(bad)} of {len(self.values)} rows have holes and were left out "
            f"({self._holes()}); the first are rows {first}."
        ]

    def _holes(self) -> str:
        counts = np.isnan(self.values).sum(axis=0)
        worst = [k for k in np.argsort(-counts)[:5] if counts[k]]
        return ", ".join(f"{self.names[k]} in {counts[k]}" for k in worst)


class TableReader:
    """Reads arrays, data frames and files for an estimator, by scikit-learn's rules."""

    def __init__(self, estimator: Any):
        self.estimator = estimator

    def fit(
        self, x: Any, columns: Sequence[Any] | None, id_column: str | None
    ) -> tuple[Taken, str | None, dict[str, str]]:
        """The columns to fit, the one that names the rows, and why others are left out.

        What scikit-learn keeps of the columns' number and names is set.
        """
        check_list("columns", columns)
        asked = [] if columns is None else [*columns]
        for name in asked:
            if asked.count(name) > 1:
                raise ValueError(f"`columns` has {name!r} more than once; name each once.")
        if is_file(x) or is_frame(x):
            columns = None if columns is None else [*map(str, columns)]
            frame = self._frame(x, columns=columns, id_column=id_column, others=id_column is None)
            choice = choose(frame, columns, id_column)
            places = [frame.names.index(name) for name in choice.used]
            if is_file(x):  # of a file only those columns count that are taken
                places = list(range(len(choice.used)))
                self.estimator.n_features_in_ = len(choice.used)
                self.estimator.feature_names_in_ = np.asarray(choice.used, object)
            else:
                validate_data(self.estimator, x, skip_check_array=True)
            values = matrix_of(frame, choice.used)
            taken = Taken(values, choice.used, places, frame.rows, frame.source, is_file(x))
            return taken, choice.id, choice.left_out
        if id_column is not None:
            raise ValueError(f"`id_column` is for named columns; an array has no {id_column!r}.")
        values = self._array(x, reset=True, ensure_min_samples=2)
        places = range(values.shape[1]) if columns is None else [*columns]
        known = range(values.shape[1])
        if any(isinstance(place, bool) or place not in known for place in places):
            raise ValueError(
                f"`columns` of an array must be places from 0 to {values.shape[1] - 1}, got "
                f"{list(places)}."
            )
        places = [int(place) for place in places]
        names = tuple(f"x{place + 1}" for place in places)
        left_out = {f"x{k + 1}": "not asked for" for k in range(values.shape[1]) if k not in places}
        rows = np.arange(1, len(values) + 1)
        taken = Taken(values[:, list(places)], names, places, rows, "the array", False)
        return taken, None, left_out

    def use(
        self, x: Any, names: Sequence[str], places: Sequence[int]
    ) -> Float[np.ndarray, "rows columns"]:
        """The same columns of other rows."""
        if is_file(x) or is_frame(x):
            if not hasattr(self.estimator, "feature_names_in_"):
                frame = self._frame(x)
                names = [frame.names[place] for place in places]
            else:
                frame = self._frame(x, columns=names)
            if not is_file(x) and not self.estimator.data_["file"]:
                validate_data(self.estimator, x, skip_check_array=True, reset=False)
            return matrix_of(frame, names)
        return self._array(x, reset=False)[:, list(places)]

    def _frame(
        self, x: Any, *, columns: Any = None, id_column: str | None = None, others: bool = False
    ) -> MixedTable:
        frame = frame_of(x, columns, id_column, others=others)
        for name, column in zip(frame.names, frame.columns, strict=True):
            if column.dtype != object and np.isinf(column).any():
                row = frame.rows[np.flatnonzero(np.isinf(column))[0]]
                raise ValueError(f"column {name!r} has an infinity in row {row}.")
        return frame

    def _array(self, x: Any, *, reset: bool, ensure_min_samples: int = 1) -> np.ndarray:
        found = validate_data(
            self.estimator, x, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan",
            ensure_min_samples=ensure_min_samples,
        )  # fmt: skip
        return np.asarray(found)
