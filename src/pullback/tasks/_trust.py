"""`RowTrust`: which labels of a table are wrong."""

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track
from scipy.special import expit
from sklearn.utils import check_consistent_length, check_random_state

from ._beside import beside
from ._class_start import choose_parts, start_of
from ._classifier import AbstractClassifier
from ._frame import frame_of
from ._inputs import describe_inputs, fit_inputs
from ._labels import codes_of, labels_of, with_target
from ._outputs import table_writer
from ._page import Report
from ._rows import TableReader
from ._trust_learning import TREES, Learned, Pool, learn


class RowTrust(AbstractClassifier):
    r"""How far each label of a table is to be trusted, by hypergradients on a few clean rows.

    $$ \theta^*(\lambda) = \arg\min_\theta \frac1n \sum_i \mathrm{sigmoid}(\lambda_i)\,
       \ell_i(\theta) + \frac{\rho}{2} |\theta|^2, \qquad
       \lambda \leftarrow \lambda - \eta \frac{d}{d\lambda} L_{\text{clean}}(\theta^*(\lambda)) $$

    where l is the cross-entropy of lines in whitened columns: a row counts less the more clean rows
    would gain without it. A label is then judged by lines trained so on the other rows, and its
    weight says how likely its class is beside the best other one. It starts where cross-validation
    ends, at weights by logistic regression and Gaussians mixed. Steps along hypergradients are kept
    where they gain for sure on clean rows that are held out in turn. Where trees know the labels
    better than any line, the weights are those of trees, without hypergradients.

    Hypergradients pay where labels are wrong in one direction, as when rows of one class often have
    another's label: areas under the ROC curve for the wrong labels of three tables are higher by
    0.037 +- 0.011 than without them, and by 0.10 than a cross-validated logistic regression's.
    Where labels are wrong at random hypergradients do not beat the cross-validated probabilities
    that they start from (+0.0006 +- 0.0004); those are ahead of a logistic regression's by 0.019,
    by better lines and clean rows beside them. docs/tasks.md has the figures.

    Without clean rows fifths of the table serve in turn, which works while most labels are right;
    that labels are wrong in one direction is then not seen.

    Args:
        label: the column of the classes, of a table with named columns; an empty cell is a row
            without one. None: they are given to `fit` as y.
        columns: the columns to take, names (or places, of arrays); None takes all of numbers.
        id_column: the column that only names the rows; None looks for one.
        max_steps: the most steps along hypergradients; 0 is the start.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        weights_: of each row of the table, in (0, 1), NaN without a label: a `sample_weight` for
            other classifiers. Below 1/2 another class is more likely. 1/2 for a row that is the
            only one of its class, of which nothing can be said.
        suspects_: places of the rows whose label is probably wrong, worst first.
        probable_: of each row the class that it probably has: a suspect's is another than its own.
        classes_: the classes, sorted.
        columns_: the columns that the model is of.
        id_column_: the column that names the rows, or None.
        left_out_: of each column that was not taken, why.
        notes_: what was done to rows and columns, and who wins, in sentences.
        report_: accuracy, log loss, Brier score and calibration error, on clean rows held out in
            turn, of one classifier trained with these weights and with those of others; None where
            no row could be held out.
        n_steps_: steps along hypergradients that were kept.
        start_name_: by what the labels are judged: "lines", or "boosted trees" where those know
            clean rows (without any, the table's own labels) better for sure.
        data_: where the rows came from, their number, how many have a class, and their digest.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
        ValueError: a setting, the table or the classes do not fit; the message says which and how.

    Example:
        >>> import numpy as np, pullback as pb
        >>> y = np.arange(60) % 2
        >>> x = np.random.default_rng(0).normal(size=(60, 2)) + 6 * y[:, None]
        >>> y[[7, 30]] = 1 - y[[7, 30]]
        >>> trust = pb.tasks.RowTrust(random_state=0).fit(x, y)
        >>> sorted(trust.suspects_.tolist()), trust.probable_[[7, 30]].tolist()
        ([7, 30], [1, 0])

    Source: Lorraine et al., Optimizing Millions of Hyperparameters by Implicit Differentiation,
        arXiv 1911.02590; Ren et al., Learning to Reweight Examples for Robust Deep Learning, arXiv
        1803.09050; Northcutt et al., Confident Learning, arXiv 1911.00068, for where it starts.
    """

    _files = (*AbstractClassifier._files, "suspects.csv")
    _found = (
        *AbstractClassifier._found, "n_steps_", "start_name_", "clean_", "gain_", "suspect_rows_",
        "suspect_names_",
    )  # fmt: skip

    def __init__(
        self,
        label: str | None = None,
        columns: Sequence[str] | Sequence[int] | None = None,
        id_column: str | None = None,
        *,
        max_steps: int = 20,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.label = label
        self.columns = columns
        self.id_column = id_column
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None, X_clean: Any = None, y_clean: Any = None) -> "RowTrust":
        """Weigh the rows of an array, a data frame or a file.

        Args:
            X: rows of numbers, with holes or without, or the path of a CSV or Parquet file.
            y: their labels, of any type; None, NaN, or -1 beside two others, where there is none.
                Left out where `label` names their column.
            X_clean: other rows, or some of these, whose labels are known to be right, in any of
                those forms; some tens do. None: parts of the table serve in turn.
            y_clean: their labels; left out where `label` names their column.
        """
        if self.max_steps < 0:
            raise ValueError(f"`max_steps` must be 0 or more, got {self.max_steps}.")
        table, target = with_target(X, y, self.label, self.columns, self.id_column, classes=True)
        taken, self.id_column_, left_out = TableReader(self).fit(
            table, self.columns, self.id_column
        )
        check_consistent_length(taken.values, target)
        labels = labels_of(target)
        self.classes_, self.notes_ = labels.classes, [*labels.notes]
        values, codes = self._keep(taken, labels.codes, left_out)
        generator = check_random_state(self.random_state)
        self.inputs_ = fit_inputs(values)
        self.notes_ += describe_inputs(self.inputs_, self.columns_, np.isnan(values))
        sure, right = self._clean(X_clean, y_clean)
        count, z = len(self.classes_), self.inputs_.to_line(values)
        known = np.flatnonzero(codes >= 0)
        parts = choose_parts(z[known], codes[known], count, generator)
        lines = start_of(z[known], codes[known], count, parts)
        rows = np.concatenate([z[known], self.inputs_.to_line(sure)])
        pool = Pool(
            rows, lines.whiten(rows), np.concatenate([codes[known], right]),
            np.arange(len(rows)) >= len(known), count,
        )  # fmt: skip
        shown = sys.stderr.isatty() if self.progress is None else self.progress
        bar = functools.partial(
            track, description="weights", console=Console(stderr=True), disable=not shown
        )
        found = learn(pool, parts, max_steps=self.max_steps, generator=generator, shown=bar)
        self.start_ = lines._replace(weight=found.weight, bias=found.bias)
        self.n_steps_, self.start_name_, self.gain_ = found.steps, found.start, found.gain
        self.clean_ = len(right)
        have = slice(len(known))
        self._weigh(found.log_probs[have], pool.margins(found.log_probs)[have], values, codes)
        self.suspect_rows_ = taken.rows[self.suspects_].tolist()
        self.suspect_names_ = None
        if self.id_column_ is not None:
            names = frame_of(table, self.columns_, self.id_column_).column(self.id_column_)
            self.suspect_names_ = names[self.suspects_].tolist()
        self._conclude(found, pool)
        return self

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the fitted model, and `suspects.csv`: labels that are probably wrong, worst first.

        Args:
            folder: for `model.safetensors`, `model.json` and `suspects.csv`.

        Raises:
            ModelError: there are files of such names in it that are no model's.
        """
        folder = super().save(folder)
        with table_writer(folder / "suspects.csv") as write:
            write(self._suspects())
        return folder

    def _clean(self, X: Any, y: Any) -> tuple[Float[np.ndarray, "m d"], Int[np.ndarray, " m"]]:
        """The clean rows that have a label."""
        if X is None:
            if y is not None:
                raise ValueError("`y_clean` was given without `X_clean`, the rows that it is of.")
            self.notes_.append(
                "No clean rows were given, so fifths of the table serve in turn, which works while "
                "most labels are right; that labels are wrong in one direction is not seen."
            )
            return np.zeros((0, len(self.columns_))), np.zeros(0, int)
        named = self.label if y is None else None
        if named is None and y is None:
            raise ValueError("`X_clean` needs the labels of its rows: give `y_clean`.")
        table, target = with_target(X, y, named, self.columns_, self.id_column_, classes=True)
        values = TableReader(self).use(table, self.columns_, self.places_)
        check_consistent_length(values, target)
        codes = codes_of(target, self.classes_)
        known = np.flatnonzero(codes >= 0)
        if not len(known):
            raise ValueError("expected clean rows with a class; none of `X_clean` has one.")
        without = len(codes) - len(known)
        self.notes_.append(
            f"{len(known)} clean rows say which weights are good"
            + (f"; {without} without a class were left out." if without else ".")
        )
        return values[known], codes[known]

    def _weigh(
        self,
        logs: Float[np.ndarray, "n k"],
        margins: Float[np.ndarray, " n"],
        values: Float[np.ndarray, "rows d"],
        codes: Int[np.ndarray, " rows"],
    ) -> None:
        """Weights, and who is suspected of being what, of what is said of rows with a label."""
        known = np.flatnonzero(codes >= 0)
        self.codes_, self.weights_ = codes.astype(np.int64), np.full(len(codes), np.nan)
        self.weights_[known] = expit(margins)
        wrong = known[self.weights_[known] < 0.5]
        probable = np.where(codes < 0, self._log_probs(values).argmax(axis=1), codes)
        probable[wrong] = logs[np.searchsorted(known, wrong)].argmax(axis=1)
        self.probable_ = self.classes_[probable]
        self.suspects_ = wrong[np.argsort(self.weights_[wrong], kind="stable")]

    def _conclude(self, found: Learned, pool: Pool) -> None:
        """How good the weights are, in words."""
        what = "clean rows" if self.clean_ else "rows of the table"
        start = f"cross-validated probabilities, by {found.start}"
        gained = "" if found.gain is None else "{:.2g} +- {:.2g} nats".format(*found.gain)
        if found.start == TREES:
            self.notes_.append(
                f"The weights are {start}, as no line tells these classes apart as they do: give "
                "the weights to such a classifier, as its `sample_weight`, and do not predict by "
                "this one."
            )
        elif found.steps:
            self.notes_.append(
                f"The labels are judged by lines trained with weights that {found.steps} steps "
                f"along hypergradients made of {start}: on {what} held out they gained {gained}."
            )
        else:
            why = "without hypergradients"
            if found.gain is not None and self.max_steps:
                why = f"as hypergradients gained nothing for sure on {what} held out ({gained})"
            self.notes_.append(
                f"The labels are judged by lines trained with {start} for weights, {why}."
            )
        kind = "known to be right" if self.clean_ else "of the table, by the labels that they have"
        how = f"{kind}, held out in turn, by lines trained with each of the weights,"
        self._tell(found.probs, pool.codes[found.judged], how)
        rows = ", ".join(map(str, self.suspect_rows_[:5]))
        first = f"; the worst are rows {rows}." if self.suspect_rows_ else "."
        self.notes_.append(
            f"{len(self.suspects_)} of {self.data_['labelled']} labels are probably wrong{first}"
        )

    def _suspects(self) -> dict[str, list[Any]]:
        """The table of suspects."""
        given = self.classes_[self.codes_[self.suspects_]].tolist()
        names = {} if self.id_column_ is None else {self.id_column_: self.suspect_names_}
        found = {
            "row": self.suspect_rows_,
            "given": given,
            "probable": self.probable_[self.suspects_].tolist(),
            "weight": self.weights_[self.suspects_].tolist(),
        }
        return beside(names, found)

    def _of_unlabelled(self, none: int, rows: int) -> str:
        return f"{none} of {rows} rows have no class, and so no weight."

    def _arrays(self) -> dict[str, np.ndarray]:
        probable = np.searchsorted(self.classes_, self.probable_)
        return super()._arrays() | {
            "weights": self.weights_,
            "codes": self.codes_,
            "suspects": self.suspects_,
            "probable": probable,
        }

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        super()._restore(arrays)
        self.weights_, self.codes_ = arrays["weights"], arrays["codes"]
        self.suspects_, self.probable_ = arrays["suspects"], self.classes_[arrays["probable"]]

    def _card(self) -> list[str]:
        return [
            f"RowTrust of {self.data_['source']}: {self.data_['rows']} rows, "
            f"{self.data_['labelled']} with a label, {self.clean_} clean ones beside them, "
            f"{self.n_steps_} steps along hypergradients",
            f"classes: {', '.join(map(str, self.classes_.tolist()))}",
            f"columns: {', '.join(self.columns_)}",
            *([f"rows are named by: {self.id_column_}"] if self.id_column_ else []),
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        return [f"head -n 11 {name}/suspects.csv", *super()._commands(name)]

    def _report(self, given: Any) -> Report:
        from ._trust_page import trust_page

        return trust_page(self)
