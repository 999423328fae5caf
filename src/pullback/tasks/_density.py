"""`FlowDensity`: the density of the rows of a table, and its anomalies."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback._inputs import positive

from . import _flows
from ._columns import ColumnMap, Repeats, describe, fit_columns, with_a_density
from ._mixture import Kind, choose_kind
from ._page import Report
from ._report import Parts, compare, kernel_density, split, told_of_others, verdict
from ._rows import TableReader, Taken
from ._scored_rows import AbstractScoredRows
from ._scores import Scores
from ._settings import check_contamination, check_max_steps

_LEVELS = 64  # quantiles of each column that are kept


class FlowDensity(AbstractScoredRows):
    r"""The density of the rows of a table by a normalising flow, and the rows it makes unlikely.

    $$ \log p(x) = \log p_0(f(x)) + \ln |\det \partial f / \partial x| $$

    Columns are brought to mean 0 and covariance I, positive and skewed ones as logarithms. The base
    $p_0$ is a mixture of Gaussians, fitted by scikit-learn, with the number and the kind of
    components that do best on held-out rows; f starts as the identity, so training starts at that
    mixture. Both are trained by maximum likelihood, and the model is the one that does best on the
    held-out rows. Where they gain nothing for sure, or there are fewer than 300 rows to train on
    (about 430 in all), that is the mixture. `report_` compares the two on rows that took no part
    in either; what was chosen so is then fitted again, to all rows, where it is the mixture or
    there are no more than 3000 rows to train on.
    Log-densities are in nats and the table's own units.

    The first training compiles, which takes some 20 seconds; later ones of tables of up to 4000
    rows whose columns have the same next power of two find those programs again. Larger tables,
    those of more than 16 columns, and splines compile anew for another number of them.

    Args:
        method: "residual-flow"; "spline-coupling", couplings by rational-quadratic splines, whose
            draws are in closed form; or "cnf", a continuous flow, which takes several times as
            long.
        contamination: the share of rows taken to be anomalies, in (0, 0.5]: `predict` gives -1 to
            rows less likely than that share of those fitted.
        columns: the columns to take, names (or places, of arrays); None takes all of numbers.
        id_column: the column that only names the rows; None looks for one.
        copula: bring each column to normal scores first: for heavy tails and odd shapes.
        max_steps: the most training steps, whatever the number of rows; None chooses by it; 0 is
            the mixture.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        columns_: the columns that the density is of.
        id_column_: the column that names the rows, or None.
        left_out_: of each column that was not taken, why.
        notes_: what was done to rows and columns, and who wins, in sentences.
        report_: mean log-densities of held-out rows, of the flow, of the mixture and of a kernel
            density, with standard errors; None of fewer than 20 rows.
        offset_: the log-density below which a row is an anomaly.
        flow_: the flow, of the columns brought to mean 0 and covariance I.
        n_steps_: training steps; 0 where the model is the mixture.
        data_: where the rows came from, their number, and the digest of those fitted.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
        ValueError: a setting or the table does not fit; the message says which and how.

    Example:
        >>> import numpy as np, pullback as pb
        >>> x = np.random.default_rng(0).normal(size=(60, 2)) * [1, 10]
        >>> density = pb.tasks.FlowDensity(random_state=0).fit(x)
        >>> density.predict([[0.0, 0.0], [9.0, 0.0]])
        array([ 1, -1])

    Source: Chen et al., Residual Flows for Invertible Generative Modeling, arXiv 1906.02735;
        Durkan et al., Neural Spline Flows, arXiv 1906.04032; Grathwohl et al., FFJORD, arXiv
        1810.01367.
    """

    _column, _called = "log_density", "log-density"
    _found = (
        "columns_", "places_", "id_column_", "left_out_", "notes_", "data_", "report_", "offset_",
        "n_steps_", "size_",
    )  # fmt: skip

    def __init__(
        self,
        method: str = "residual-flow",
        *,
        contamination: float = 0.05,
        columns: Sequence[str] | Sequence[int] | None = None,
        id_column: str | None = None,
        copula: bool = False,
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.method = method
        self.contamination = contamination
        self.columns = columns
        self.id_column = id_column
        self.copula = copula
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "FlowDensity":
        """Fit the density of the rows of an array, a data frame or a file.

        Rows with holes are left out, and `notes_` says so.

        Args:
            X: rows of numbers, or the path of a CSV or Parquet file.
            y: not used.
        """
        self._check_settings()
        taken, self.id_column_, left_out = TableReader(self).fit(X, self.columns, self.id_column)
        values = self._keep(taken, left_out)
        generator = check_random_state(self.random_state)
        parts = split(len(values), generator)
        repeats = Repeats.of(values)
        spread = repeats.spread(values, generator)
        seed = int(generator.randint(2**31))
        kind, logs = self._choose(spread, repeats, parts, seed)
        self.map_ = fit_columns(spread[parts.train], repeats, copula=self.copula, logs=logs)
        self.notes_ += describe(self.map_, repeats, self.columns_)
        z, slope = self.map_.to_line(spread)
        mixture = kind.fit(z[parts.train], seed)
        self.size_ = _flows.Size.of(self.method, len(parts.train), z.shape[1], self.max_steps)
        self.flow_, self.n_steps_ = _flows.train(
            self.size_, mixture, z[parts.train], z[parts.choose], seed=seed, progress=self.progress
        )
        self._tell(mixture, kind.rows(z.shape[1]), z, slope, parts)
        if self.n_steps_ == 0 or self.size_.is_small:
            self._fit_all(spread, repeats, kind, parts, seed)
        self._keep_scores(self._scores(values))
        levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
        self.levels_ = np.quantile(values, levels, axis=0, method="nearest")
        return self

    def score_samples(self, X: Any) -> Float[np.ndarray, " rows"]:
        """The log-density of each row in nats; NaN where it has a hole."""
        return self._scores(self._values(X))

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> Float[np.ndarray, "n d"]:
        """New rows, of the columns `columns_`, in the table's units.

        Args:
            n_samples: how many.
            random_state: seed, generator or None.
        """
        check_is_fitted(self)
        positive(n_samples=n_samples)
        seed = int(check_random_state(random_state).randint(2**31))
        return self.map_.from_line(_flows.sample(self.flow_, n_samples, len(self.columns_), seed))

    def explain(self, X: Any) -> Float[np.ndarray, "rows d"]:
        r"""By how many nats each column makes a row unlikely.

        $$ \ln \tfrac1K \sum_k p(x_{-j}, x_j^k) - \ln p(x) $$

        with $x_j^k$ at K = 64 quantiles of column j in the rows fitted: what the row would gain if
        that column were as usual. It may be negative.

        Args:
            X: rows.

        Returns:
            Of each row and each of `columns_` the gain; the largest is the column to blame.
        """
        return self._gains(self._values(X))

    def _gains(self, values: Float[np.ndarray, "rows d"]) -> Float[np.ndarray, "rows d"]:
        score = self._scores(values)
        gain = np.full(values.shape, np.nan)
        whole = ~np.isnan(score)
        values, score = values[whole], score[whole]
        for place, levels in enumerate(self.levels_.T):
            other = np.repeat(values, len(levels), axis=0)
            other[:, place] = np.tile(levels, len(values))
            found = self._scores(other).reshape(len(values), len(levels))
            mean = np.logaddexp.reduce(found, axis=1) - np.log(len(levels))
            # A row that another column makes impossible gains nothing by this one.
            lost = mean == score
            gain[whole, place] = np.where(lost, 0.0, mean - np.where(lost, 0.0, score))
        return gain

    def _predictions(self, values: Float[np.ndarray, "n d"]) -> dict[str, list[Any]]:
        return self._scored(values)

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {"quantiles": self.quantiles_, "levels": self.levels_}
        own = self.map_._asdict()
        scores = own.pop("scores")
        arrays |= {f"map.{name}": value for name, value in own.items()}
        if scores is not None:
            arrays |= {f"scores.{name}": value for name, value in scores._asdict().items()}
        return arrays | _flows.arrays_of(self.flow_)

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.columns_, self.size_ = tuple(self.columns_), _flows.Size(*self.size_)
        scores = None
        if "scores.knots" in arrays:
            scores = Scores(*(arrays[f"scores.{name}"] for name in Scores._fields))
        own = {name: arrays[f"map.{name}"] for name in ColumnMap._fields if name != "scores"}
        self.map_ = ColumnMap(**own, scores=scores)
        self.quantiles_, self.levels_ = arrays["quantiles"], arrays["levels"]
        self.flow_ = _flows.from_arrays(self.size_, arrays)

    def _card(self) -> list[str]:
        steps = f"{self.n_steps_} training steps" if self.n_steps_ else "no training step"
        return [
            f"FlowDensity({self.method!r}) of {self.data_['source']}: "
            f"{self.data_['rows']} rows, {steps}",
            f"columns: {', '.join(self.columns_)}",
            *([f"rows are named by: {self.id_column_}"] if self.id_column_ else []),
            *self.notes_,
            f"An anomaly is a row below {self.offset_:.6g} nats: "
            f"{100 * self.contamination:g} % of the rows fitted.",
        ]

    def _commands(self, name: str) -> list[str]:
        return [
            f"pullback score {name} FILE --out scores.csv",
            f"pullback sample {name} -n 1000 --out samples.csv",
        ]

    def _report(self, given: Any) -> Report:
        from ._density_page import density_page

        return density_page(self, given)

    def _check_settings(self) -> None:
        if self.method not in _flows.METHODS:
            *known, last = map(repr, _flows.METHODS)
            raise ValueError(f"`method` must be {', '.join(known)} or {last}, got {self.method!r}.")
        check_contamination(self.contamination)
        check_max_steps(self.max_steps)

    def _keep(self, taken: Taken, left_out: dict[str, str]) -> Float[np.ndarray, "n d"]:
        """The whole rows of the columns that have a density."""
        values = taken.whole()
        none = with_a_density(values, taken.names)
        kept = [place for place in range(values.shape[1]) if place not in none]
        if not kept:
            raise ValueError("every column is the same in all rows, so the rows have no density.")
        self.columns_ = tuple(taken.names[place] for place in kept)
        self.places_ = [int(taken.places[place]) for place in kept]
        self.left_out_ = {**left_out, **{taken.names[place]: why for place, why in none.items()}}
        self.notes_ = taken.notes()
        if self.left_out_:
            told = "; ".join(f"{name} ({why})" for name, why in self.left_out_.items())
            self.notes_.append(f"Columns left out: {told}.")
        self.data_ = {
            "source": taken.source,
            "rows": len(taken.values),
            "file": taken.is_file,
            "sha256": hashlib.sha256(values[:, kept].tobytes()).hexdigest(),
        }
        return values[:, kept]

    def _choose(
        self, spread: Float[np.ndarray, "n d"], repeats: Repeats, parts: Parts, seed: int
    ) -> tuple[Kind, bool]:
        """The mixture, and whether to take logarithms: they bend what is a plane."""
        folds, own = parts.folds(seed), np.union1d(parts.train, parts.choose)
        found = []
        for logs in (True, False):
            columns = fit_columns(spread[own], repeats, copula=self.copula, logs=logs)
            z, slope = columns.to_line(spread)
            kind, score = choose_kind(z, folds, seed)
            found.append((score + slope[own].mean(), kind, logs))
            if not columns.log.any():
                break
        _, kind, logs = max(found, key=lambda one: one[0])
        return kind, logs

    def _fit_all(
        self, spread: Float[np.ndarray, "n d"], repeats: Repeats, kind: Kind, parts: Parts,
        seed: int,
    ) -> None:  # fmt: skip
        """Fit what was chosen to all rows: those held out say no less of the table."""
        logs = bool(self.map_.log.any())
        columns = fit_columns(spread, repeats, copula=self.copula, logs=logs)
        z, _ = columns.to_line(spread)
        flow = _flows.train_again(
            self.size_, kind.fit(z, seed), z, z[parts.choose], steps=self.n_steps_, seed=seed,
            progress=self.progress,
        )  # fmt: skip
        if flow is not None:
            self.map_, self.flow_ = columns, flow
            if len(parts.train) < len(spread):
                self.notes_.append("What was chosen so was then fitted to all rows.")

    def _values(self, X: Any) -> Float[np.ndarray, "rows d"]:
        check_is_fitted(self)
        return TableReader(self).use(X, self.columns_, self.places_)

    def _scores(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        whole = ~np.isnan(values).any(axis=1)
        z, slope = self.map_.to_line(values[whole])
        inside = slope > -np.inf
        found = np.full(len(values), np.nan)
        scores = np.full(len(z), -np.inf)
        scores[inside] = _flows.log_prob(self.flow_, z[inside]) + slope[inside]
        found[whole] = scores
        return found

    def _tell(
        self, mixture: Any, mixed: int, z: np.ndarray, slope: np.ndarray, parts: Parts
    ) -> None:
        """How good the model is, beside what it started from and a kernel density."""
        few = len(parts.test) == len(z)
        self.report_ = None
        if few:
            self.notes_.append("Too few rows to hold any out, so nothing says how good the fit is.")
        else:
            test = z[parts.test]
            others = {
                "mixture of Gaussians": mixture.log_prob(test),
                "kernel density": kernel_density(z[parts.train], z[parts.choose], test),
            }
            flow = _flows.log_prob(self.flow_, test) + slope[parts.test]
            others = {name: other + slope[parts.test] for name, other in others.items()}
            if self.n_steps_ == 0:  # but for the bits of single precision
                others["mixture of Gaussians"] = flow
            self.report_ = compare(flow, others)
            self.notes_.append(verdict(self.report_))
            self.notes_ += told_of_others(len(parts.train), mixed)
        if self.n_steps_ == 0:
            self.notes_.append("The model is the mixture of Gaussians that training starts from.")
