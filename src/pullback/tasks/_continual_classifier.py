"""`ContinualClassifier`: the classes of a table's rows, learned one table after another."""

import copy
import hashlib
import math
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax
from sklearn.utils import check_consistent_length, check_random_state

from pullback.data import MixedTable

from . import _continual_nets as nets
from ._class_scores import OURS, quiet_others, told_of_others
from ._classifier import AbstractClassifier
from ._frame import is_file, is_frame
from ._inputs import Inputs, describe_inputs, fit_inputs
from ._labels import Labels, codes_of, labels_of, missing, with_target
from ._page import Report, Table
from ._rows import TableReader

_ENOUGH = 60  # rows with a class, from which on some of a task are held out
_SHARE = 15  # per cent of them


class ContinualClassifier(AbstractClassifier):
    r"""The classes of a table's rows, learned one table after another, without the tables before.

    $$ \tilde L(\theta) = L(\theta) + c \sum_k \Omega_k (\theta_k - \tilde\theta_k)^2 $$

    with $L$ the log loss of the rows at hand and $\Omega$ what the weights of a network were worth
    to the tables before, by synaptic intelligence. Each call of `partial_fit` is a task. Nothing is
    kept of its rows but how columns are scaled, by the first one, and the probabilities and classes
    of those held out of the last one. A model that was saved and loaded goes on, and ends with the
    weights of one that was never saved, bit for bit.

    What it is for: the same classes, in rows that change, as by another instrument or another
    season. What it is not for: classes that come one after another. Give all in `classes` at the
    first call, and rows of each of them in every task; what is not in a task is soon forgotten,
    whatever the strength. Where old rows may be kept, `EnergyClassifier` on all of them is better.

    Args:
        method: how earlier tasks are kept: "synaptic-intelligence".
        label: the column of the classes, of a table with named columns; an empty cell is a row
            without one, which teaches nothing. None: they are given as y.
        columns: the columns to take, names (or places, of arrays); None takes all of numbers.
        id_column: the column that only names the rows; None looks for one.
        strength: $c$, how much earlier tasks count; 0 is training without memory.
        damping: what bounds $\Omega$ of weights that hardly moved.
        steps: training steps of each task; None: so many that each row is seen twenty times.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        classes_: the classes, sorted.
        columns_: the columns that the model is of.
        id_column_: the column that names the rows, or None.
        left_out_: of each column that was not taken, why.
        notes_: what was done to rows and columns, and how each task went, in sentences.
        tasks_: of each task `rows` with a class, `classes`, `steps`, and `accuracy` on rows of it
            that took no part, None where there were too few.
        report_: as for `EnergyClassifier`, of the last task: on rows of it that took no part,
            beside others that were fitted to that task alone.
        data_: where the rows came from, their number in all tasks, how many have a class, and the
            digest of all of them.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
        ValueError: a setting, the table or the classes do not fit, or a class is not known; the
            message says which and how.

    Example:
        >>> import numpy as np, pullback as pb
        >>> x = np.random.default_rng(0).normal(size=(60, 2)) + np.arange(60)[:, None] % 2 * 4
        >>> y = np.where(np.arange(60) % 2, "high", "low")
        >>> model = pb.tasks.ContinualClassifier(steps=100, random_state=0)
        >>> model = model.partial_fit(x, y).partial_fit(x + [6, 0], y)
        >>> model.predict([[0.0, 0.0], [4.0, 4.0]]).tolist(), len(model.tasks_)
        (['low', 'high'], 2)

    Source: Zenke, Poole and Ganguli, Continual Learning Through Synaptic Intelligence,
        arXiv 1703.04200.
    """

    _found = (*AbstractClassifier._found, "tasks_", "seed_")

    learned_: nets.Learned

    def __init__(
        self,
        method: str = "synaptic-intelligence",
        *,
        label: str | None = None,
        columns: Sequence[str] | Sequence[int] | None = None,
        id_column: str | None = None,
        strength: float | int = 0.3,
        damping: float | int = 1e-3,
        steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.method = method
        self.label = label
        self.columns = columns
        self.id_column = id_column
        self.strength = strength
        self.damping = damping
        self.steps = steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "ContinualClassifier":
        """Forget all, and learn a first task.

        Args:
            X: as for `partial_fit`.
            y: as for `partial_fit`.
        """
        return self._once_learned("_first", X, y, None)

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> "ContinualClassifier":
        """Learn one more task.

        Args:
            X: rows of numbers, with holes or without, or the path of a CSV or Parquet file.
            y: their classes, of any type; None, NaN, or -1 beside two others, where it is not
                known. Left out where `label` names their column.
            classes: with the first task, all classes that any task will have. None: those of the
                first task.
        """
        if not hasattr(self, "tasks_"):
            return self._once_learned("_first", X, y, classes)
        return self._once_learned("_next", X, y, classes)

    def _once_learned(self, learn: str, *given: Any) -> "ContinualClassifier":
        """What a method makes of the model, which stays as it is where the method fails."""
        after = copy.copy(self)
        getattr(after, learn)(*given)
        self.__dict__ = after.__dict__
        return self

    def _next(self, X: Any, y: Any, classes: Any) -> None:
        self.notes_, self.tasks_ = [*self.notes_], [*self.tasks_]
        known = None if classes is None else _all_classes(classes)
        if known is not None and not np.array_equal(known, self.classes_):
            raise ValueError(
                f"`classes` was {self.classes_.tolist()} with the first task, and cannot become "
                f"{known.tolist()}: a network has an output for each. Begin anew, by `fit` or with "
                "another model."
            )
        self._check_settings()
        table, target = with_target(X, y, self.label, self.columns, self.id_column, classes=True)
        values = TableReader(self).use(table, self.columns_, self.places_)
        check_consistent_length(values, target)
        codes = self._codes(target)
        digest = hashlib.sha256(values.tobytes() + codes.astype(np.int64).tobytes())
        before, source = self.data_, _source(table)
        sources = before["source"].split(", ")
        self.data_ = {
            **before,
            "source": ", ".join([*sources, *([] if source in sources else [source])]),
            "rows": before["rows"] + len(codes),
            "labelled": before["labelled"] + int((codes >= 0).sum()),
            "sha256": hashlib.sha256(
                f"{before['sha256']}{digest.hexdigest()}".encode()
            ).hexdigest(),
        }
        self._learn(values, codes)

    def _first(self, X: Any, y: Any, classes: Any) -> None:
        self._check_settings()
        table, target = with_target(X, y, self.label, self.columns, self.id_column, classes=True)
        taken, self.id_column_, left_out = TableReader(self).fit(
            table, self.columns, self.id_column
        )
        check_consistent_length(taken.values, target)
        labels = labels_of(target) if classes is None else None
        if labels is None:
            self.classes_ = _all_classes(classes)
            labels = Labels(self._codes(target), self.classes_, [])
        self.classes_, self.notes_ = labels.classes, [*labels.notes]
        values, codes = self._keep(taken, labels.codes, left_out)
        self.inputs_ = fit_inputs(values)
        self.notes_ += describe_inputs(self.inputs_, self.columns_, np.isnan(values))
        self.seed_ = int(check_random_state(self.random_state).randint(2**31))
        self.tasks_ = []
        self._learn(values, codes)

    def _codes(self, target: np.ndarray) -> Int[np.ndarray, " n"]:
        codes = codes_of(
            target, self.classes_, rows="the task", who="the model",
            remedy="; name all classes that will come by "
            "`classes=` with the first task (on the command line --classes)",
        )  # fmt: skip
        if not (codes >= 0).any():
            raise ValueError("expected rows with a class; no row of the task has one.")
        return codes

    def _learn(self, values: Float[np.ndarray, "n d"], codes: Int[np.ndarray, " n"]) -> None:
        number, count = len(self.tasks_) + 1, len(self.classes_)
        z, known = self.inputs_.to_line(values), np.flatnonzero(codes >= 0)
        generator = np.random.RandomState((self.seed_ + number) % 2**31)
        share = len(known) * _SHARE // 100 if len(known) >= _ENOUGH else 0
        order = generator.permutation(known)
        test, rest = np.sort(order[:share]), np.sort(order[share:])
        before = self.learned_ if number > 1 else None
        self.learned_, steps = nets.learn(
            before, z[rest], codes[rest], count, strength=self.strength, damping=self.damping,
            steps=self.steps, seed=self.seed_, progress=self.progress,
        )  # fmt: skip
        y, probs = codes[test], {OURS: np.exp(self._of_lines(z[test]))}
        if share and len(np.unique(codes[rest])) > 1:
            probs |= quiet_others(z[rest], codes[rest], z[test], count)
        self._tell(probs, y, f"of task {number} that took no part in its fit")
        if len(probs) > 1:
            self.notes_ += told_of_others(codes[rest], z.shape[1], count, probs)
        self._remember(number, codes[known], y, probs[OURS], steps)

    def _remember(
        self,
        number: int,
        codes: Int[np.ndarray, " n"],
        y: Int[np.ndarray, " m"],
        probs: Float[np.ndarray, "m k"],
        steps: int,
    ) -> None:
        seen = [self.classes_[code] for code in np.unique(codes)]
        self.tasks_.append(
            {
                "rows": len(codes),
                "classes": np.asarray(seen).tolist(),
                "steps": steps,
                "accuracy": float((probs.argmax(axis=1) == y).mean()) if len(y) else None,
            }
        )
        earlier = {name for task in self.tasks_[:-1] for name in task["classes"]}
        lost = sorted(earlier - set(self.tasks_[-1]["classes"]))
        if lost:
            self.notes_.append(
                f"Task {number} has no rows of {', '.join(map(str, lost))}: such classes are soon "
                "forgotten, whatever the strength. Give rows of each class in every task."
            )

    def _log_probs(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        return self._of_lines(self.inputs_.to_line(values))

    def _of_lines(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        return np.asarray(log_softmax(nets.logits(self.learned_, z), axis=1))

    def _of_unlabelled(self, none: int, rows: int) -> str:
        return f"{none} of {rows} rows of task 1 have no class, and teach nothing."

    def _arrays(self) -> dict[str, np.ndarray]:
        inputs = {f"inputs.{name}": part for name, part in self.inputs_._asdict().items()}
        held = {"held.y": self.held_y_, "held.probs": self.held_probs_}
        return inputs | held | nets.arrays_of(self.learned_)

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.columns_, self.classes_ = tuple(self.columns_), np.asarray(self.classes_)
        self.held_y_, self.held_probs_ = arrays["held.y"], arrays["held.probs"]
        self.inputs_ = Inputs(*(arrays[f"inputs.{name}"] for name in Inputs._fields))
        self.learned_ = nets.from_arrays(arrays)

    def _check_settings(self) -> None:
        if self.method != "synaptic-intelligence":
            raise ValueError(f"`method` must be 'synaptic-intelligence', got {self.method!r}.")
        steps = self.steps
        if steps is not None and (
            not isinstance(steps, numbers.Integral) or isinstance(steps, bool) or steps < 1
        ):
            raise ValueError(
                f"`steps` must be 1 or more, a whole number, or None for so many that each row is "
                f"seen twenty times; got {steps!r}."
            )
        _check_number("strength", self.strength, above=False)
        _check_number("damping", self.damping, above=True)

    def _card(self) -> list[str]:
        return [
            f"{type(self).__name__} of {self.data_['source']}: {len(self.tasks_)} tasks, "
            f"{self.data_['rows']} rows, {self.data_['labelled']} with a class",
            f"classes: {', '.join(map(str, self.classes_.tolist()))}",
            f"columns: {', '.join(self.columns_)}",
            *([f"rows are named by: {self.id_column_}"] if self.id_column_ else []),
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        label = "COLUMN" if self.label is None else self.label
        return [
            *super()._commands(name),
            f"pullback fit tasks NEXTFILE --label {label} --resume {name} --out {name}",
        ]

    def _report(self, given: Any) -> Report:
        page = super()._report(given)
        rows = [
            [n + 1, each["rows"], ", ".join(map(str, each["classes"])), each["accuracy"]]
            for n, each in enumerate(self.tasks_)
        ]
        table = Table(
            "Tasks so far",
            ("task", "rows with a class", "classes", "accuracy when it was learned"),
            rows,
            "On rows of each task that took no part, just after it was learned. What was lost "
            "since is not known here, for those rows were not kept: score the model on rows of "
            "old tasks.",
        )
        return page._replace(parts=[table, *page.parts])


def _check_number(name: str, value: Any, *, above: bool) -> None:
    known = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if known else math.nan
    if not math.isfinite(number) or number < 0 or (above and number == 0):
        raise ValueError(
            f"`{name}` must be {'above 0' if above else '0 or more'}, a number and finite; got "
            f"{value!r}."
        )


def _source(table: Any) -> str:
    """What rows came from, in the words of a reader of tables."""
    if isinstance(table, MixedTable):
        return table.source
    if is_file(table):
        return Path(table).name
    return f"the {type(table).__name__}" if is_frame(table) else "the array"


def _all_classes(classes: Any) -> np.ndarray:
    named = np.asarray(classes)
    if missing(named.ravel()).any():
        raise ValueError(
            "`classes` must name classes alone: None and NaN are of rows without one. Got "
            f"{classes!r}."
        )
    found = np.unique(np.asarray(named.tolist()))
    if len(found) < 2:
        raise ValueError(f"`classes` must name two classes or more, got {classes!r}.")
    return found
