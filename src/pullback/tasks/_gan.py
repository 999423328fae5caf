"""`TableGAN`: new rows of a table by a game of two networks, and whether to believe them."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback._inputs import positive
from pullback._location_scale import location_and_scale

from . import _gan_nets as nets
from ._categories import in_codes, with_codes
from ._copula import Copula, fit_copula
from ._gan_report import COPULA, OURS, REAL, checks, is_lost, judge
from ._page import Report
from ._quantiles import Quantiles
from ._rows import TableReader, Taken
from ._scored_rows import AbstractScoredRows
from ._settings import check_contamination, check_max_steps

_HELD_OUT = 25  # per cent of rows that judge
_JUDGES = 10_000  # rows, for which more tell no better how good samples are
_FEWEST = 40  # rows from which on some are held out


class TableGAN(AbstractScoredRows):
    r"""New rows of a table by adversarially learned inference, and whether to believe them.

    $$ \min_{q, p} \max_D\; \mathrm{E}_{q(x) q(z|x)}\big[\log D(x, z)\big] +
       \mathrm{E}_{p(z) p(x|z)}\big[\log(1 - D(x, z))\big] $$

    Columns of numbers become normal scores by the quantiles seen, independent ones by a Gaussian
    copula; columns of text of up to 20 kinds become one-hot, and the generator draws a kind by
    Gumbel's trick. Generator and encoder start as that copula and its inverse, so that what the
    game adds is what columns do beyond it. Draws are values that can be: within those seen, whole
    numbers and tenths where all that were seen are such, and a value that repeats, such as 0 in
    many rows, as often as it was seen.

    `report_` says whether to believe the draws, beside a quarter of the rows, which take no part in
    the fit: whether a classifier tells them (AUROC; 0.5: it cannot), whether they lie where rows do
    (density; 1) and everywhere (coverage); of this model, of the copula, and of real rows, which is
    as good as it gets. A GAN often loses to the copula on small tables of many columns, and
    `notes_` then say so: take `max_steps=0`, the copula, or `FlowDensity`.

    Where there are fewer than 80 rows to train on (107 in all) the model is the copula. The copula
    is fitted again, to all rows, once it was judged; a game is not, for it would be another model.

    Args:
        contamination: the share of rows taken to be anomalies, in (0, 0.5]: `predict` gives -1 to
            rows less usual than that share of those fitted.
        columns: the columns to take, names (or places, of arrays); None takes all that can be.
        id_column: the column that only names the rows; None looks for one.
        max_steps: training steps; None chooses by the numbers of rows and columns, 6000 at most; 0
            is the copula.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        columns_: the columns of the rows drawn.
        kinds_: of each column of text its kinds.
        id_column_: the column that names the rows, or None.
        left_out_: of each column that was not taken, why.
        notes_: what was done to rows and columns, and whether to believe the draws, in sentences.
        report_: AUROC, density and coverage of draws beside rows held out, of this model, of a
            Gaussian copula and of real rows; None of fewer than 40 rows.
        offset_: the score below which a row is an anomaly.
        n_steps_: training steps; 0 where the model is the copula.
        data_: where the rows came from, their number, and the digest of those fitted.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
        ValueError: a setting or the table does not fit; the message says which and how.

    Example:
        >>> import numpy as np, pullback as pb
        >>> x = np.random.default_rng(0).poisson(3, size=(60, 2))
        >>> gan = pb.tasks.TableGAN(random_state=0).fit(x)
        >>> gan.sample(3, random_state=0).shape, sorted(gan.report_)[:2]
        ((3, 2), ['Gaussian copula', 'rows'])

    Source: Dumoulin et al., Adversarially Learned Inference, arXiv 1606.00704; density and
        coverage: Naeem et al., arXiv 2002.09797.
    """

    _column, _called = "score", "score"
    _found = (
        "columns_", "kinds_", "places_", "id_column_", "left_out_", "notes_", "data_", "report_",
        "offset_", "n_steps_",
    )  # fmt: skip

    def __init__(
        self,
        *,
        contamination: float = 0.05,
        columns: Sequence[str] | Sequence[int] | None = None,
        id_column: str | None = None,
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.contamination = contamination
        self.columns = columns
        self.id_column = id_column
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "TableGAN":
        """Fit the rows of an array, a data frame or a file.

        Rows with holes are left out, and `notes_` says so.

        Args:
            X: rows, or the path of a CSV or Parquet file; of an array numbers alone. A column of a
                CSV file of which most cells are numbers is one of numbers, unless some are codes
                such as 01: of others give a data frame that has them as text. Durations of a data
                frame are taken in days.
            y: not used.
        """
        self._check_settings()
        table, kinds, refused = with_codes(X, self.columns, self.id_column)
        taken, self.id_column_, left_out = TableReader(self).fit(
            table, self.columns, self.id_column
        )
        left_out |= {name: why for name, why in refused.items() if name in left_out}
        values = self._keep(taken, left_out, kinds)
        generator = check_random_state(self.random_state)
        order = generator.permutation(len(values))
        share = min(len(values) * _HELD_OUT // 100, _JUDGES)
        held = share if len(values) >= _FEWEST else 0
        test, train = values[order[:held]], values[order[held:]]
        counts = [len(kinds) for kinds in self.kinds_.values()]
        self.copula_ = fit_copula(train, counts, generator)
        seed = int(generator.randint(2**31))
        rows = self._white(train, generator)
        steps = nets.steps_for(*train.shape) if self.max_steps is None else self.max_steps
        self.model_, self.n_steps_ = nets.train(
            nets.begin(self.copula_, seed), rows, steps=steps, seed=seed, progress=self.progress
        )
        self.deviation_ = nets.deviations(nets.tell(self.model_, self._white(train)))
        self._tell(train, test, seed)
        if self.n_steps_ == 0 and held:
            # Of a game another training is another model than the one that was judged.
            self.copula_ = fit_copula(values, counts, generator)
            self.model_ = nets.begin(self.copula_, seed)
            self.deviation_ = nets.deviations(nets.tell(self.model_, self._white(values)))
            self.notes_.append("It was judged so, and then fitted to all rows.")
        self._keep_scores(self._scores(values))
        return self

    def score_samples(self, X: Any) -> Float[np.ndarray, " rows"]:
        r"""How usual each row is; NaN where it has a hole.

        $$ -\tfrac12 |z|^2 - \tfrac12 \sum_j \Big(\frac{x_j - \hat x_j}{s_j}\Big)^2
           + \sum_k \ln p(x_k | z) $$

        with z the latent that the encoder gives to the row, $\hat x$ what the decoder gives back of
        it, in independent scores, $s_j$ how far that is off of the rows fitted, and p what the
        decoder gives to the row's kinds. It is no log-density: compare rows by it, and not models.
        A kind that was not seen has minus infinity.
        """
        return self._scores(self._values(X))

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> np.ndarray:
        """New rows, of the columns `columns_`, in the table's units.

        Args:
            n_samples: how many.
            random_state: seed, generator or None.

        Returns:
            Numbers `[n, columns]`; where the table has columns of text, objects, of which theirs
            are text: `pandas.DataFrame(rows, columns=task.columns_)` is a table as it was.
        """
        check_is_fitted(self)
        positive(n_samples=n_samples)
        seed = int(check_random_state(random_state).randint(2**31))
        return self._in_words(self._draws(n_samples, seed))

    def _predictions(self, values: Float[np.ndarray, "n d"]) -> dict[str, list[Any]]:
        return self._scored(self._sorted(values))

    def _values(self, X: Any) -> Float[np.ndarray, "rows d"]:
        """Columns of numbers and then of codes."""
        check_is_fitted(self)
        table = in_codes(X, self.columns_, self.kinds_)
        return self._sorted(TableReader(self).use(table, self.columns_, self.places_))

    def _sorted(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        return values[:, _numbers_first(self.columns_, self.kinds_)]

    def _in_words(self, values: Float[np.ndarray, "n d"]) -> np.ndarray:
        """Columns as they stood, with text for codes."""
        back = np.argsort(_numbers_first(self.columns_, self.kinds_))
        if not self.kinds_:
            return values[:, back]
        found = values.astype(object)
        whole = len(self.columns_) - len(self.kinds_)
        for place, kinds in enumerate(self.kinds_.values(), whole):
            found[:, place] = np.asarray(kinds, object)[values[:, place].astype(int)]
        return found[:, back]

    def _white(
        self, values: Float[np.ndarray, "n d"], generator: np.random.RandomState | None = None
    ) -> Float[np.ndarray, "n f"]:
        found = self.copula_.features(values, generator, far=generator is None)
        whole = self.copula_.whole
        white = self.copula_.whiten(found[:, :whole])
        return np.concatenate([white, found[:, whole:]], axis=1)

    def _draws(self, count: int, seed: int) -> Float[np.ndarray, "n d"]:
        """Columns of numbers and then of codes."""
        found, whole = nets.sample(self.model_, count, seed), self.copula_.whole
        numbers = self.copula_.numbers.from_scores(self.copula_.colour(found[:, :whole]))
        ends = whole + np.cumsum(self.copula_.counts, dtype=int)
        kinds = [part.argmax(axis=1) for part in np.split(found, [whole, *ends], axis=1)[1:-1]]
        return self.copula_.join(numbers, kinds)

    def _scores(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        found = np.full(len(values), np.nan)
        whole = ~np.isnan(values).any(axis=1)
        score = nets.score(nets.tell(self.model_, self._white(values[whole])), self.deviation_)
        unseen = (values[whole, self.copula_.whole :] < 0).any(axis=1)
        found[whole] = np.where(unseen, -np.inf, score)
        return found

    def _keep(
        self, taken: Taken, left_out: dict[str, str], kinds: dict[str, list[str]]
    ) -> Float[np.ndarray, "n d"]:
        """The whole rows of the columns that vary, those of numbers first."""
        values = taken.whole()
        constant = location_and_scale(values).constant
        kept = np.flatnonzero(~constant).tolist()
        if not kept:
            raise ValueError("every column is the same in all rows, so there is nothing to draw.")
        self.columns_ = tuple(taken.names[place] for place in kept)
        self.places_ = [int(taken.places[place]) for place in kept]
        self.kinds_ = {name: kinds[name] for name in self.columns_ if name in kinds}
        same = {taken.names[place]: "the same in all rows" for place in np.flatnonzero(constant)}
        self.left_out_ = {**left_out, **same}
        self.notes_ = taken.notes()
        if self.left_out_:
            told = "; ".join(f"{name} ({why})" for name, why in self.left_out_.items())
            self.notes_.append(f"Columns left out: {told}.")
        if self.kinds_:
            told = ", ".join(f"{name} ({len(each)})" for name, each in self.kinds_.items())
            self.notes_.append(f"Columns of kinds: {told}.")
        self.data_ = {
            "source": taken.source,
            "rows": len(taken.values),
            "file": taken.is_file,
            "sha256": hashlib.sha256(values[:, kept].tobytes()).hexdigest(),
        }
        return self._sorted(values[:, kept])

    def _tell(
        self, train: Float[np.ndarray, "n d"], test: Float[np.ndarray, "m d"], seed: int
    ) -> None:
        """Whether to believe draws, beside a copula's and real rows."""
        self.report_ = None
        if self.n_steps_ == 0:
            few = "Too few rows to train on, so the" if self.max_steps is None else "The"
            self.notes_.append(f"{few} model is the Gaussian copula that training starts from.")
        if not len(test):
            self.notes_.append("Too few rows to hold any out, so nothing says whether to believe.")
            return
        generator = np.random.RandomState(seed)
        others = {
            OURS: self._draws(len(test), seed),
            COPULA: self.copula_.sample(len(test), generator),
            REAL: train[generator.permutation(len(train))[: len(test)]],
        }
        if self.n_steps_ == 0:
            others[OURS] = others[COPULA]
        features = {name: self.copula_.features(rows) for name, rows in others.items()}
        self.report_ = judge(self.copula_.features(test), features, seed)
        self.notes_ += [check.sentence for check in checks(self.report_)]

    def _arrays(self) -> dict[str, np.ndarray]:
        copula = self.copula_
        numbers = {f"numbers.{name}": array for name, array in copula.numbers._asdict().items()}
        kinds = {f"order.{j}": array for j, array in enumerate(copula.order)}
        kinds |= {f"edges.{j}": array for j, array in enumerate(copula.edges)}
        own = {"root": copula.root, "quantiles": self.quantiles_, "deviation": self.deviation_}
        return own | numbers | kinds | nets.arrays_of(self.model_)

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.columns_ = tuple(self.columns_)
        # JSON has sorted them by name.
        self.kinds_ = {name: self.kinds_[name] for name in self.columns_ if name in self.kinds_}
        numbers = Quantiles(*(arrays[f"numbers.{name}"] for name in Quantiles._fields))
        order, edges = (
            [arrays[f"{part}.{j}"] for j in range(len(self.kinds_))] for part in ("order", "edges")
        )
        self.copula_ = Copula(numbers, order, edges, arrays["root"])
        self.quantiles_, self.deviation_ = arrays["quantiles"], arrays["deviation"]
        self.model_ = nets.from_arrays(self.copula_, arrays)

    def _card(self) -> list[str]:
        steps = f"{self.n_steps_} training steps" if self.n_steps_ else "no training step"
        return [
            f"TableGAN of {self.data_['source']}: {self.data_['rows']} rows, {steps}",
            f"columns: {', '.join(self.columns_)}",
            *([f"rows are named by: {self.id_column_}"] if self.id_column_ else []),
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        better = []
        if self.report_ is not None and is_lost(self.report_):
            better = [
                "pullback fit gan FILE --max-steps 0 --out copula",
                "pullback fit density FILE --out density",
            ]
        return [
            *better,
            f"pullback sample {name} -n 1000 --out samples.csv",
            f"pullback score {name} FILE --out scores.csv",
        ]

    def _report(self, given: Any) -> Report:
        from ._gan_page import gan_page

        return gan_page(self, given)

    def _check_settings(self) -> None:
        check_contamination(self.contamination)
        check_max_steps(self.max_steps)


def _numbers_first(columns: Sequence[str], kinds: dict[str, list[str]]) -> list[int]:
    """Places of the columns of numbers, and then of those of kinds."""
    return sorted(range(len(columns)), key=lambda place: columns[place] in kinds)
