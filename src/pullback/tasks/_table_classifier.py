"""What classifiers of tables share: from rows and classes to calibrated probabilities."""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax
from sklearn.utils import check_consistent_length, check_random_state

from ._class_scores import OURS, quiet_others, told_of_others
from ._class_start import Start, cross_folds, fit_start, temper
from ._classifier import AbstractClassifier
from ._inputs import describe_inputs, fit_inputs
from ._labels import labels_of, with_target
from ._rows import TableReader
from ._trained import Trained

_FEWEST = 320  # rows with a class, below which a network learns nothing that lines do not know
_SHARE = 15  # per cent of rows with a class that choose, and as many that judge
_JUDGES = 20_000  # rows, for which more tell no better how good a fit is
_FOLDS = 5


class AbstractTableClassifier(AbstractClassifier):
    """A classifier of the rows of a table, that starts from lines and is a network where it gains.

    Attributes:
        n_steps_: training steps; 0 where the model is what it starts from.
    """

    _found = (*AbstractClassifier._found, "n_steps_", "temper_")

    method: str
    max_steps: int | None

    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit to the rows of an array, a data frame or a file.

        Args:
            X: rows of numbers, with holes or without, or the path of a CSV or Parquet file.
            y: their classes, of any type; None, NaN, or -1 beside two others, where it is not
                known. Left out where `label` names their column.
        """
        self._check_settings()
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
        z, count = self.inputs_.to_line(values), len(self.classes_)
        seed = int(generator.randint(2**31))
        many = (codes >= 0).sum() >= _FEWEST
        kept = self._by_parts(z, codes, seed) if many else self._by_folds(z, codes, generator)
        self.net_, self.n_steps_, self.temper_ = None, 0, 1.0
        if kept is not None:
            v, args = kept.start.whiten(z), (codes, kept.choose, len(z), None, seed)
            last = self._train(kept.start, v, *args, kept.trained) or kept.trained
            self.start_, self.temper_ = kept.start, kept.factor
            self.net_, self.n_steps_ = last.net, last.steps
        else:
            self.start_ = fit_start(z, codes, count, generator)
            self.notes_.append(
                "The model is the lines that training starts from: logistic regression and "
                "Gaussians of one covariance, mixed by cross-validation."
            )
        self._finish(values)
        return self

    @abstractmethod
    def _train(
        self,
        start: Start,
        v: Float[np.ndarray, "n d"],
        codes: Int[np.ndarray, " n"],
        choose: Int[np.ndarray, " m"],
        room: int,
        steps: int | None,
        seed: int,
        first: Trained | None,
    ) -> Trained | None:
        """A network, the best on the rows to choose by; None if training fails.

        Args:
            start: what the network is added to.
            v: whitened rows.
            codes: their classes, -1 where none is known.
            choose: places of rows to choose by.
            room: rows that there may be.
            steps: how many, or the most.
            seed: of all that is random.
            first: what to go on from, on all rows; None: begin, and leave out those to choose by.
        """

    @abstractmethod
    def _of_net(
        self, start: Start, net: Any, v: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n k"]:
        """The network's log-probabilities of rows, to the bit whatever is beside them."""

    @abstractmethod
    def _check_settings(self) -> None:
        """Raise ValueError for settings that do not fit."""

    def _finish(self, values: Float[np.ndarray, "n d"]) -> None:
        """What else is to be known of the rows fitted."""

    def _log_probs(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        v = self.start_.whiten(self.inputs_.to_line(values))
        if self.net_ is None:
            return self.start_.log_probs(v)
        return np.asarray(
            log_softmax(self.temper_ * self._of_net(self.start_, self.net_, v), axis=1)
        )

    def _by_parts(
        self, z: Float[np.ndarray, "n d"], codes: Int[np.ndarray, " n"], seed: int
    ) -> "_Kept | None":
        """Train on some rows, choose by others and judge by the rest: the network, if it gains."""
        count, generator = len(self.classes_), np.random.RandomState(seed)
        choose, test = _parts(codes, generator)
        rest = np.setdiff1d(np.arange(len(z)), test)
        seen, hidden = codes[rest], codes[rest].copy()
        chosen = np.searchsorted(rest, choose)
        hidden[chosen] = -1
        start = fit_start(z[rest], hidden, count, generator)
        v = start.whiten(z)
        trained, factor, kept = None, 1.0, False
        if self.max_steps != 0:
            trained = self._train(start, v[rest], seen, chosen, len(z), self.max_steps, seed, None)
        if trained is not None:
            before, y = start.log_probs(v[choose]), codes[choose]
            after = self._of_net(start, trained.net, v[choose])
            factor = temper(after, y).factor
            after = np.asarray(log_softmax(factor * after, axis=1))
            gain = (after - before)[np.arange(len(y)), y]
            kept = bool(gain.mean() > 2 * gain.std() / np.sqrt(len(gain)))
        if trained is not None and kept:
            seen, log_probs = hidden, factor * self._of_net(start, trained.net, v[test])
        else:
            lines = fit_start(z[rest], seen, count, generator)
            log_probs = lines.log_probs(lines.whiten(z[test]))
        probs = {OURS: np.exp(log_softmax(log_probs, axis=1))}
        # The others may learn from what this one has learned from.
        probs |= quiet_others(z[rest], seen, z[test], count)
        self._tell(probs, codes[test], "that took no part in the fit")
        self.notes_ += told_of_others(seen, z.shape[1], count, probs)
        return None if trained is None or not kept else _Kept(trained, factor, choose, start)

    def _by_folds(
        self, z: Float[np.ndarray, "n d"], codes: Int[np.ndarray, " n"], generator: Any
    ) -> None:
        """Judge by cross-validation, where there are few rows with a class."""
        count = len(self.classes_)
        folds = list(cross_folds(codes, _FOLDS, generator))
        found: dict[str, list[np.ndarray]] = {}
        for fold in folds:
            rest = np.setdiff1d(np.arange(len(z)), fold)
            start = fit_start(z[rest], codes[rest], count, generator)
            probs = {OURS: np.exp(start.log_probs(start.whiten(z[fold])))}
            probs |= quiet_others(z[rest], codes[rest], z[fold], count)
            for name, part in probs.items():
                found.setdefault(name, []).append(part)
        # Where a fold leaves too few rows for one of the others, it is not judged.
        whole = {name: np.concatenate(p) for name, p in found.items() if len(p) == len(folds)}
        y = codes[np.concatenate(folds)] if folds else np.zeros(0, int)
        self._tell(whole, y, "held out in turn, by cross-validation,")

    def _card(self) -> list[str]:
        steps = f"{self.n_steps_} training steps" if self.n_steps_ else "no training step"
        return [
            f"{type(self).__name__}({self.method!r}) of {self.data_['source']}: "
            f"{self.data_['rows']} rows, {self.data_['labelled']} with a class, {steps}",
            f"classes: {', '.join(map(str, self.classes_.tolist()))}",
            f"columns: {', '.join(self.columns_)}",
            *([f"rows are named by: {self.id_column_}"] if self.id_column_ else []),
            *self.notes_,
        ]


class _Kept(NamedTuple):
    """A network that gained, its tempering, the rows chosen by, and what it is added to."""

    trained: Trained
    factor: float
    choose: Int[np.ndarray, " c"]
    start: Start


def _parts(
    codes: Int[np.ndarray, " n"], generator: np.random.RandomState
) -> tuple[Int[np.ndarray, " c"], Int[np.ndarray, " t"]]:
    """Places to choose by and to judge by, and of every class one that is left."""
    known = generator.permutation(np.flatnonzero(codes >= 0))
    part = min(len(known) * _SHARE // 100, _JUDGES)
    _, first = np.unique(codes[known], return_index=True)
    free = np.delete(known, first)
    return np.sort(free[:part]), np.sort(free[part : 2 * part])
