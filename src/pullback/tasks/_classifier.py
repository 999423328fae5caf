"""What classifiers of tables share: how rows become probabilities, and how good they are told."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ._class_scores import OURS, class_verdict, judge
from ._class_start import Start
from ._inputs import Inputs, constant_columns
from ._page import Report
from ._rows import TableReader, Taken
from ._task import AbstractTask


class AbstractClassifier(ClassifierMixin, AbstractTask):
    """A classifier of the rows of a table, by lines, or by what is added to them.

    Attributes:
        classes_: the classes, sorted.
        columns_: the columns that the model is of.
        id_column_: the column that names the rows, or None.
        left_out_: of each column that was not taken, why.
        report_: accuracy, log loss, Brier score and calibration error on rows that took no part, of
            this model and of others, and how far behind they are, with standard errors; None where
            no row could be held out.
    """

    _found = (
        "classes_", "columns_", "places_", "id_column_", "left_out_", "notes_", "data_", "report_",
        "how_",
    )  # fmt: skip

    label: str | None
    columns: Sequence[str] | Sequence[int] | None
    id_column: str | None
    random_state: Any
    progress: bool | None

    inputs_: Inputs
    start_: Start

    def predict_proba(self, X: Any) -> Float[np.ndarray, "rows classes"]:
        """The probability of each of `classes_`."""
        return np.exp(self._log_probs(self._values(X)))

    def predict(self, X: Any) -> np.ndarray:
        """The most likely class of each row."""
        best = self._log_probs(self._values(X)).argmax(axis=1)
        return self.classes_[best]

    def _log_probs(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        return self.start_.log_probs(self.start_.whiten(self.inputs_.to_line(values)))

    def _values(self, X: Any) -> Float[np.ndarray, "rows d"]:
        check_is_fitted(self)
        return TableReader(self).use(X, self.columns_, self.places_)

    def _predictions(self, values: Float[np.ndarray, "n d"]) -> dict[str, list[Any]]:
        """The columns of a table of predictions."""
        log_probs = self._log_probs(values)
        names = self.classes_.tolist()
        probs = np.exp(log_probs).T.tolist()
        predicted = self.classes_[log_probs.argmax(axis=1)].tolist()
        return {f"p_{name}": p for name, p in zip(names, probs, strict=True)} | {
            "predicted": predicted
        }

    def _keep(
        self, taken: Taken, codes: Int[np.ndarray, " n"], left_out: dict[str, str]
    ) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """The columns that vary."""
        same = constant_columns(taken.values)
        kept = [place for place, is_so in enumerate(same) if not is_so]
        if not kept:
            raise ValueError(
                "every column is the same in all rows, so nothing tells the classes apart."
            )
        self.columns_ = tuple(taken.names[place] for place in kept)
        self.places_ = [int(taken.places[place]) for place in kept]
        told = {taken.names[k]: "the same in all rows" for k in np.flatnonzero(same)}
        self.left_out_ = {**left_out, **told}
        if self.left_out_:
            why = "; ".join(f"{name} ({why})" for name, why in self.left_out_.items())
            self.notes_.append(f"Columns left out: {why}.")
        values = np.ascontiguousarray(taken.values[:, kept])
        none = int((codes < 0).sum())
        if none:
            self.notes_.append(self._of_unlabelled(none, len(codes)))
        digest = hashlib.sha256(values.tobytes() + codes.astype(np.int64).tobytes())
        self.data_ = {
            "source": taken.source,
            "rows": len(taken.values),
            "labelled": len(codes) - none,
            "file": taken.is_file,
            "sha256": digest.hexdigest(),
        }
        return values, codes

    def _of_unlabelled(self, none: int, rows: int) -> str:
        return f"{none} of {rows} rows have no class; they teach how the columns hang together."

    def _tell(
        self, probs: dict[str, Float[np.ndarray, "m k"]], y: Int[np.ndarray, " m"], how: str
    ) -> None:
        self.report_, self.how_ = None, f"{len(y)} rows {how.rstrip(',')}"
        self.held_y_ = y.astype(np.int64)
        self.held_probs_ = probs.get(OURS, np.zeros((0, len(self.classes_))))
        if not len(y):
            self.notes_.append(
                "Too few rows with a class to hold any out, so nothing says how good the fit is."
            )
            return
        self.report_ = judge(probs, y)
        self.notes_.append(class_verdict(self.report_, len(y), how))

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "held.y": self.held_y_,
            "held.probs": self.held_probs_,
            **{f"inputs.{name}": part for name, part in self.inputs_._asdict().items()},
            **{f"start.{name}": part for name, part in self.start_._asdict().items()},
        }

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.columns_, self.classes_ = tuple(self.columns_), np.asarray(self.classes_)
        self.held_y_, self.held_probs_ = arrays["held.y"], arrays["held.probs"]
        self.inputs_ = Inputs(*(arrays[f"inputs.{name}"] for name in Inputs._fields))
        self.start_ = Start(*(arrays[f"start.{name}"] for name in Start._fields))

    def _commands(self, name: str) -> list[str]:
        return [f"pullback predict {name} FILE --out predictions.csv"]

    def _report(self, given: Any) -> Report:
        from ._class_page import class_page

        return class_page(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
