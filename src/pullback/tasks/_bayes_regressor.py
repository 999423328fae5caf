"""`BayesianNetRegressor`: a number of a table's rows, and how far off it may be."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import RegressorMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback.analysis import information_gain

from . import _bayes_nets as nets
from ._bands import Bands
from ._inputs import Inputs, constant_columns, describe_inputs, fit_inputs
from ._labels import numbers_of, with_target
from ._net_arrays import arrays_of
from ._page import Report
from ._regression_scores import LEVEL, OURS, Predicted, judge, number_verdict, others
from ._regression_start import Errors, cross_errors, fit_line, joined
from ._rows import TableReader, Taken
from ._task import AbstractTask
from ._trained import Trained

_FEWEST = 220  # rows, below which a network learns nothing that a line does not know
_SHARE, _LARGE = 15, 1000  # per cent of rows that choose, and as many that judge: 20 of fewer
_JUDGES = 20_000  # rows that judge, of which more tell no better
_FOLDS = 5


class BayesianNetRegressor(RegressorMixin, AbstractTask):
    r"""A number of each row of a table, and how far off it may be, by a Bayesian network.

    $$ y | x \sim \frac1S \sum_s N\big(\mu(x; w_s), \sigma(x; w_s)^2\big) $$

    The weights w of the network follow a stochastic differential equation in depth, whose drift is
    learned; predictions are means over paths of them. Training starts at ridge regression, and the
    network is kept where it gains for sure on rows held out; then it is trained on, with all rows.
    With fewer than 220 rows the model is that line. Bands cover what they say: their widths are
    taken from the errors on rows held out (conformal), and saved. `report_` compares the model with
    Bayesian ridge regression and with quantiles by boosted trees on rows that took no part.

    The first training compiles, which takes some 10 seconds; later ones of as many columns, and up
    to 1024 rows, find those programs again.

    Args:
        method: "sde-bnn"; or "noisy-kfac" or "noisy-adam": one hidden layer of normal weights,
            which trains in seconds.
        label: the column of the numbers, of a table with named columns; a row with an empty cell
            there is left out. None: they are given to `fit` as y.
        columns: the columns to take, names (or places, of arrays); None takes all of numbers.
        id_column: the column that only names the rows; None looks for one.
        max_steps: the most training steps; None: so many that it seldom matters; 0 is the line.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        columns_: the columns that the model is of.
        id_column_: the column that names the rows, or None.
        left_out_: of each column that was not taken, why.
        notes_: what was done to rows and columns, and who wins, in sentences.
        report_: RMSE, log-likelihood, and coverage and width of the 90 % band on rows that took no
            part, of this model and of others; None of fewer than 20 rows.
        n_steps_: training steps; 0 where the model is the line that it starts from.
        data_: where the rows came from, their number and their digest.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
        ValueError: a setting, the table or the numbers do not fit; the message says which and how.

    Example:
        >>> import numpy as np, pullback as pb
        >>> random = np.random.default_rng(0)
        >>> x = random.normal(size=(200, 2))
        >>> y = 3 * x[:, 0] + random.normal(size=200)
        >>> model = pb.tasks.BayesianNetRegressor(random_state=0).fit(x, y)
        >>> mean, std = model.predict([[2.0, 0.0]], return_std=True)
        >>> print(f"{mean[0]:.0f} +- {std[0]:.0f}")
        6 +- 1
        >>> low, high = model.predict_interval([[2.0, 0.0]], 0.9)[0]
        >>> bool(low < 5 < 7 < high)
        True

    Source: Xu et al., Infinitely Deep Bayesian Neural Networks with Stochastic Differential
        Equations, arXiv 2102.06559; Lei et al., Distribution-Free Predictive Inference for
        Regression, arXiv 1604.04173.
    """

    _found = (
        "columns_", "places_", "id_column_", "left_out_", "notes_", "data_", "report_", "how_",
        "n_steps_", "seed_", "shift_", "unit_", "widen_",
    )  # fmt: skip

    def __init__(
        self,
        method: str = "sde-bnn",
        *,
        label: str | None = None,
        columns: Sequence[str] | Sequence[int] | None = None,
        id_column: str | None = None,
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.method = method
        self.label = label
        self.columns = columns
        self.id_column = id_column
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "BayesianNetRegressor":
        """Fit to the rows of an array, a data frame or a file.

        Args:
            X: rows of numbers, with holes or without, or the path of a CSV or Parquet file.
            y: the number of each; a row with NaN is left out. None where `label` names a column.
        """
        nets.check_settings(self.method, self.max_steps)
        table, target = with_target(X, y, self.label, self.columns, self.id_column, classes=False)
        taken, self.id_column_, left_out = TableReader(self).fit(
            table, self.columns, self.id_column
        )
        check_consistent_length(taken.values, target)
        self.notes_ = []
        values, numbers = self._keep(taken, numbers_of(target), left_out)
        generator = check_random_state(self.random_state)
        self.inputs_ = fit_inputs(values)
        self.notes_ += describe_inputs(self.inputs_, self.columns_, np.isnan(values))
        z = self.inputs_.to_line(values)
        self.shift_ = float(numbers.mean())
        self.unit_ = float(np.std(numbers - self.shift_)) or 1.0
        u = (numbers - self.shift_) / self.unit_
        self.seed_ = int(generator.randint(2**31))
        judge_by = self._by_parts if len(u) >= _FEWEST else self._by_folds
        kept, choose = judge_by(z, u, numbers, generator)
        self.line_, self.net_, self.n_steps_ = fit_line(z, u), None, 0
        if kept is not None:
            rows = np.arange(len(u))
            last = self._train(self.line_, z, u, rows, choose, None, kept) or kept
            self.net_, self.n_steps_ = last.net, last.steps
        if self.n_steps_ == 0:
            self.notes_.append("The model is the line that training starts from.")
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The mean of each row, and its standard deviation where that is asked for."""
        mean, std = self._in_units(self._values(X))
        return (mean, std) if return_std else mean

    def predict_quantiles(
        self, X: Any, levels: Sequence[float | int] = (0.05, 0.5, 0.95)
    ) -> Float[np.ndarray, "rows levels"]:
        """Quantiles: of a level p, what the number is below in a share p of such rows.

        Args:
            X: rows.
            levels: in (0, 1).
        """
        if any(not 0 < level < 1 for level in levels):
            raise ValueError(f"`levels` must lie between 0 and 1, got {list(levels)}.")
        mean, std = self._in_units(self._values(X))
        return np.stack([mean + std * self.bands_.at(level) for level in levels], axis=1)

    def predict_interval(self, X: Any, level: float | int = 0.9) -> Float[np.ndarray, "rows 2"]:
        """The band that covers a share `level` of such rows, as much of the rest on either side."""
        if not 0 < level < 1:
            raise ValueError(f"`level` must lie between 0 and 1, got {level}.")
        return self.predict_quantiles(X, ((1 - level) / 2, (1 + level) / 2))

    def next_to_measure(self, X: Any) -> Int[np.ndarray, " rows"]:
        """Places of rows, first that of which a measurement would tell the network most.

        By the information gained, `pullback.analysis.information_gain`.

        Raises:
            ValueError: the model is the line that training starts from, which knows no uncertainty
                of its own.
        """
        values = self._values(X)
        if self.net_ is None:
            raise ValueError(
                "the model is the line that training starts from, and has no random weights to "
                f"ask: fit {_FEWEST} rows or more, on which a network gains."
            )
        found = nets.outputs(self.net_, self.inputs_.to_line(values), self.seed_)
        noise = nets.variances(found[..., 1]).mean(axis=0)
        gain = information_gain(found[..., 0].var(axis=0), noise)
        return np.argsort(-np.asarray(gain), kind="stable")

    def _values(self, X: Any) -> Float[np.ndarray, "rows d"]:
        check_is_fitted(self)
        return TableReader(self).use(X, self.columns_, self.places_)

    def _in_units(
        self, values: Float[np.ndarray, "n d"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        z = self.inputs_.to_line(values)
        mean, std = self._moments(self.line_, self.net_, z)
        return self.shift_ + self.unit_ * mean, self.unit_ * self.widen_ * std

    def _predictions(
        self, values: Float[np.ndarray, "n d"], level: float | int = 0.9
    ) -> dict[str, list[float]]:
        """The columns of a table of predictions."""
        mean, std = self._in_units(values)
        low, high = (self.bands_.at((1 + sign * level) / 2) for sign in (-1, 1))
        return {
            "mean": mean.tolist(),
            "lower": (mean + std * low).tolist(),
            "upper": (mean + std * high).tolist(),
        }

    def _moments(
        self, line: nets.Lines, net: nets.AnyNet | None, z: Float[np.ndarray, "n d"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Mean and deviation in standard units, to the bit whatever is beside a row."""
        if net is None:
            mean = np.full(len(z), line.bias[0])
            for column, weight in zip(z.T, line.weight[0], strict=True):
                mean = mean + column * weight
            return mean, np.full(len(z), np.exp(line.bias[1]))
        found = nets.outputs(net, z, self.seed_)
        variance = found[..., 0].var(axis=0) + nets.variances(found[..., 1]).mean(axis=0)
        return found[..., 0].mean(axis=0), np.sqrt(variance)

    def _train(
        self,
        line: nets.Lines,
        z: Float[np.ndarray, "n d"],
        u: Float[np.ndarray, " n"],
        rows: Int[np.ndarray, " t"],
        choose: Int[np.ndarray, " m"],
        steps: int | None,
        first: Trained | None,
    ) -> Trained | None:
        return nets.train(
            "numbers", line, z, u, rows, choose, method=self.method, first=first,
            room=len(u), steps=steps, seed=self.seed_, progress=self.progress,
        )  # fmt: skip

    def _by_parts(
        self, z: Any, u: Any, numbers: Any, generator: np.random.RandomState
    ) -> tuple[Trained | None, Int[np.ndarray, " c"]]:
        """Train on some rows, choose by others and judge by the rest.

        Returns:
            The network, if it gains, and the rows chosen by.
        """
        order = generator.permutation(len(u))
        part = min(len(u) * (_SHARE if len(u) >= _LARGE else 20) // 100, _JUDGES)
        test, choose, rows = order[:part], order[part : 2 * part], order[2 * part :]
        line, kept = fit_line(z[rows], u[rows]), None
        if self.max_steps != 0:
            kept = self._train(line, z, u, rows, choose, self.max_steps, None)
        found = Errors.of(*self._moments(line, None if kept is None else kept.net, z), u)
        start = Errors.of(*self._moments(line, None, z), u)
        gain = (found.log_likelihood - start.log_likelihood)[choose]
        if gain.mean() > 2 * gain.std() / np.sqrt(len(gain)):
            errors, again = found.scaled[choose], found.scaled[order[: 2 * part]]
        else:  # the line needs no rows to choose by
            rows, kept = order[part:], None
            found = Errors.of(*self._moments(fit_line(z[rows], u[rows]), None, z), u)
            errors = cross_errors(z[rows], u[rows], generator)
            again = cross_errors(z, u, generator)
        self._calibrate(errors)
        judged = {OURS: self._predicted(found.mean[test], found.std[test])}
        judged |= others(z[rows], numbers[rows], z[test])
        self._judge(judged, numbers[test], "that took no part in the fit", z[rows].shape)
        # Rows that judged may calibrate, now that they have.
        self._calibrate(again)
        return kept, choose

    def _by_folds(
        self, z: Any, u: Any, numbers: Any, generator: np.random.RandomState
    ) -> tuple[None, Int[np.ndarray, " none"]]:
        """Judge the line by cross-validation, where there are few rows."""
        count, self.report_, self.how_ = len(u), None, ""
        self.held_ = np.zeros((0, 4))
        if count < 20:
            self.notes_.append(
                "Too few rows to hold any out, so nothing says how good the fit is, and bands may "
                "cover far less than they say."
            )
            self._calibrate(cross_errors(z, u, generator))
            return None, np.arange(0)
        order = generator.permutation(count)
        parts = []
        for test in (order[k::_FOLDS] for k in range(_FOLDS)):
            rows = np.setdiff1d(order, test)
            self._calibrate(cross_errors(z[rows], u[rows], generator))
            mean, std = self._moments(fit_line(z[rows], u[rows]), None, z[test])
            ours = {OURS: self._predicted(mean, std)}
            parts.append(ours | others(z[rows], numbers[rows], z[test]))
        y = numbers[np.concatenate([order[k::_FOLDS] for k in range(_FOLDS)])]
        # Where a fold leaves too few rows for one of the others, it is not judged.
        names = [name for name in parts[0] if all(name in part for part in parts)]
        found = {name: joined([part[name] for part in parts]) for name in names}
        self._judge(found, y, "held out in turn, by cross-validation,", z.shape)
        self._calibrate(cross_errors(z, u, generator))
        return None, np.arange(0)

    def _calibrate(self, errors: Float[np.ndarray, " n"]) -> None:
        self.widen_ = float(np.sqrt(np.mean(np.square(errors)))) or 1.0
        self.bands_ = Bands.of(errors / self.widen_)

    def _predicted(self, mean: np.ndarray, std: np.ndarray) -> Predicted:
        mean, std = self.shift_ + self.unit_ * mean, self.unit_ * self.widen_ * std
        low, high = (self.bands_.at((1 + sign * LEVEL) / 2) for sign in (-1, 1))
        return Predicted(mean, mean + std * low, mean + std * high, std)

    def _judge(
        self, found: dict[str, Predicted], y: Float[np.ndarray, " n"], how: str,
        learned: tuple[int, ...],
    ) -> None:  # fmt: skip
        self.report_, self.how_ = judge(found, y), f"{len(y)} rows {how.rstrip(',')}"
        ours = found[OURS]
        self.held_ = np.stack([y, ours.mean, ours.lower, ours.upper], axis=1)
        self.notes_.append(number_verdict(self.report_, len(y), how, learned))

    def _keep(
        self, taken: Taken, numbers: Float[np.ndarray, " n"], left_out: dict[str, str]
    ) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, " m"]]:
        """The rows that have a number, and the columns that vary in them."""
        known = ~np.isnan(numbers)
        if known.sum() < 2:
            raise ValueError(f"expected two or more rows with a number; {known.sum()} has one.")
        if not known.all():
            self.notes_.append(
                f"{(~known).sum()} of {len(known)} rows have no number to learn, and were left out."
            )
        values = taken.values[known]
        same = constant_columns(values)
        kept = [place for place, is_so in enumerate(same) if not is_so]
        if not kept:
            raise ValueError(
                "every column is the same in all rows, so nothing tells of the number."
            )
        self.columns_ = tuple(taken.names[place] for place in kept)
        self.places_ = [int(taken.places[place]) for place in kept]
        told = {taken.names[k]: "the same in all rows" for k in np.flatnonzero(same)}
        self.left_out_ = {**left_out, **told}
        if self.left_out_:
            why = "; ".join(f"{name} ({why})" for name, why in self.left_out_.items())
            self.notes_.append(f"Columns left out: {why}.")
        values, numbers = np.ascontiguousarray(values[:, kept]), numbers[known]
        self.data_ = {
            "source": taken.source,
            "rows": len(taken.values),
            "file": taken.is_file,
            "sha256": hashlib.sha256(values.tobytes() + numbers.tobytes()).hexdigest(),
        }
        return values, numbers

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "held": self.held_,
            **{f"bands.{name}": part for name, part in self.bands_._asdict().items()},
            **{f"inputs.{name}": part for name, part in self.inputs_._asdict().items()},
            **{f"line.{name}": part for name, part in self.line_._asdict().items()},
            **arrays_of(self.net_),
        }

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.columns_, self.held_ = tuple(self.columns_), arrays["held"]
        self.bands_ = Bands(*(arrays[f"bands.{name}"] for name in Bands._fields))
        self.inputs_ = Inputs(*(arrays[f"inputs.{name}"] for name in Inputs._fields))
        self.line_ = nets.Lines(*(arrays[f"line.{name}"] for name in nets.Lines._fields))
        self.net_ = nets.from_arrays(arrays, self.method)

    def _card(self) -> list[str]:
        steps = f"{self.n_steps_} training steps" if self.n_steps_ else "no training step"
        of = f" of {self.label}" if self.label else ""
        return [
            f"BayesianNetRegressor({self.method!r}){of} of {self.data_['source']}: "
            f"{self.data_['rows']} rows, {steps}",
            f"columns: {', '.join(self.columns_)}",
            *([f"rows are named by: {self.id_column_}"] if self.id_column_ else []),
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        return [f"pullback predict {name} FILE --out predictions.csv --level 0.9"]

    def _report(self, given: Any) -> Report:
        from ._regression_page import regression_page

        return regression_page(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
