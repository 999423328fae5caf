"""`SeriesExplainer`: which measurement, at which hour, moved the prediction of a user's model."""

import hashlib
import sys
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from rich.console import Console
from rich.progress import track
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback._inputs import positive
from pullback._on_device import on_device
from pullback.analysis.explain import fit_importance
from pullback.data import LongTable
from pullback.models.timeseries import ConditionalGenerator, fit_generator, series_log_prob
from pullback.train import TrainingError

from ._answers import says_changes
from ._page import Report
from ._series import SeriesModel
from ._series_explanations import GAUSSIAN, SeriesExplanations
from ._series_predictor import KINDS, Predictor, blamed
from ._series_rows import read_series
from ._series_steps import Steps, on_steps, says_steps, usual_step
from ._settings import check_max_steps
from ._task import AbstractTask

_HIDDEN, _COMPONENTS = 32, 3
_FEWEST, _HELD_OUT = 20, 0.15  # series from which on some are held out, and their share
_FEW, _MOST, _PATIENCE = 50, 1000, 5  # training steps, and looks without a gain


class SeriesExplainer(AbstractTask):
    r"""Which measurement of a series, at which time, moved the prediction of a model of one's own.

    $$ I(i, t) = KL\big(p_t \,\|\, E f(X_{0:t-1}, \hat x)\big)
       - KL\big(p_t \,\|\, E f(X_{0:t-1}, x_{i,t}, \hat x)\big) $$

    The first term is how far the prediction moved at t, the second how much of that is left where
    of all that was measured at t only $x_i$ is known (FIT). What is hidden is drawn by a generator
    of series, which `fit` learns from series of the same kind: a mixture of Gaussians from a
    recurrent network. A score is in nats; below 0, the measurement alone moved the prediction the
    other way. It says what changed the prediction, not what the prediction rests on: a variable
    that matters at all times, and does not change, has scores near 0.

    The model is not fitted and not saved: `load(folder, model=...)` takes it again.

    Args:
        model: a function of prefixes: `(n, time, variables)` in NumPy, NaN where nothing was
            observed, of every length from 1 on, to `(n, classes)`; a JAX function may be such too.
            Or an object with `start() -> state` and `step(state, x) -> (state, output)` in JAX,
            which is faster, for it carries what it has seen. Or a `SeriesModel` with outcomes.
        kind: "categorical", of classes one; "multilabel", each label by itself, so one probability
            of a yes is `(n, 1)`; "gaussian", whose output is mean and standard deviation.
        outputs: "probabilities" or "logits"; None: probabilities of a function, logits of what has
            steps.
        variables: those that the model takes, in its order; None: all, as they first come in the
            series that are fitted.
        step: between the rows of a prefix, in the unit of the times; None: the usual gap.
        samples: draws for each measurement.
        series: the name of the column with the series; None: the one with a usual name, and so for
            the next three.
        time: of the column with the times, numbers or dates.
        variable: of the column with the variables' names.
        value: of the column with the numbers.
        time_format: how dates are written, a pattern such as "%d.%m.%Y"; None: ISO 8601.
        decimal: the sign before fractions, "." or ","; None: as the file shows it.
        on_duplicate: where a variable of a series has several values at one time: "error", "mean"
            or "last".
        max_steps: the most training steps of the generator, which stops where held-out series gain
            no more; None chooses: of fewer than 20 series, where none is held out, 50.
        batch_size: the most prefixes that the model is given at once; None: all.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show bars on stderr; None: where stderr is a terminal.

    Attributes:
        variables_: the variables, in the model's order.
        step_: the length of a step.
        generator_: what draws hidden measurements.
        report_: how likely held-out values are by the generator and by normal distributions of each
            variable, in nats a value; None of fewer than 20 series.
        n_steps_: training steps.
        notes_: what was done to the series, and what to know of model and generator, in sentences.
        data_: where the series came from, and how many.

    Raises:
        ValueError: a setting, the series or the model's answers do not fit; the message says which
            and how. What is wrong with the model is said with its file and line.

    Example:
        >>> import numpy as np, pandas as pd, pullback as pb
        >>> random, rows = np.random.default_rng(0), []
        >>> for k in range(8):
        ...     for t in range(6):
        ...         rows += [(k, t, name, random.normal()) for name in ("pulse", "mood")]
        >>> rows[-1] = (7, 5, "mood", 6.0)
        >>> ward = pd.DataFrame(rows, columns=["patient", "time", "variable", "value"])
        >>> def risk(prefixes):  # of what was measured last; a model of any library
        ...     p = 1 / (1 + np.exp(-prefixes[:, -1, 1]))
        ...     return np.stack([1 - p, p], axis=1)
        >>> explainer = pb.tasks.SeriesExplainer(risk, max_steps=20, random_state=0).fit(ward)
        >>> found = explainer.explain(ward[ward.patient == 7])
        >>> top = found.top()
        >>> top["variable"][0], top["time"][0], round(top["after"][0], 3)
        ('mood', 5.0, 0.998)

    Source: Tonekaboni et al., What Went Wrong and When?, arXiv 2003.02821.
    """

    _found: ClassVar[tuple[str, ...]] = (
        "variables_", "step_", "report_", "n_steps_", "notes_", "data_", "seed_",
    )  # fmt: skip

    def __init__(
        self,
        model: Any = None,
        *,
        kind: str = "categorical",
        outputs: str | None = None,
        variables: Sequence[str] | None = None,
        step: float | int | None = None,
        samples: int = 10,
        series: str | None = None,
        time: str | None = None,
        variable: str | None = None,
        value: str | None = None,
        time_format: str | None = None,
        decimal: str | None = None,
        on_duplicate: str = "error",
        max_steps: int | None = None,
        batch_size: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.model = model
        self.kind = kind
        self.outputs = outputs
        self.variables = variables
        self.step = step
        self.samples = samples
        self.series = series
        self.time = time
        self.variable = variable
        self.value = value
        self.time_format, self.decimal = time_format, decimal
        self.on_duplicate = on_duplicate
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "SeriesExplainer":
        """Learn the generator of series of the kind that is to be explained, and ask the model.

        Args:
            X: a long table, its file, or `pb.data.IrregularSeries`: of each row series, time,
                variable and value. Not those to be explained, if there are others.
            y: not used.
        """
        self._check_settings()
        given = read_series(X, self._names())
        usual = given.series.variables
        if isinstance(self.model, SeriesModel):
            check_is_fitted(self.model)
            usual = self.model.variables_
        self.variables_ = tuple(self.variables or usual)
        self.step_ = float(usual_step(given.series) if self.step is None else self.step)
        steps = on_steps(given, self.step_, self.variables_)
        never = np.isnan(steps.values).all(axis=(0, 1))
        if never.any():
            raise ValueError(
                f"{steps.source} has no value of {self.variables_[int(never.argmax())]!r}, so that "
                "none can be drawn; fit to series that have, or leave it out of `variables` and of "
                "what the model takes."
            )
        self.notes_ = says_steps(steps, self.step_)
        predictor = self._predictor()
        with blamed(self.model):
            gap = predictor.check(steps)
        if gap > 1e-6:
            self.notes_.append(says_changes(gap))
        generator = check_random_state(self.random_state)
        self.seed_ = int(generator.randint(2**31))
        self._learn(steps, generator)
        self.data_ = {
            "source": steps.source, "rows": len(steps.ids), "file": steps.is_file,
            "sha256": hashlib.sha256(steps.values.tobytes()).hexdigest(),
        }  # fmt: skip
        return self

    def explain(self, X: Any) -> SeriesExplanations:
        """Which measurement moved the prediction, in each series.

        Args:
            X: series, as for `fit`, also ones that were not fitted.

        Returns:
            A score for each observed value. It does not depend on which series are beside.
        """
        check_is_fitted(self)
        self._check_settings()
        given = read_series(X, self._names())
        self._tell_other_names(given)
        steps = on_steps(given, self.step_, self.variables_)
        predictor = self._predictor()
        key = jr.key(self.seed_)
        shown = sys.stderr.isatty() if self.progress is None else self.progress
        bar = lambda places: track(
            places, description="series", console=Console(stderr=True), disable=not shown
        )
        shape, carried = steps.values.shape, steps.carried()
        score, left, error = (np.full(shape, np.nan) for _ in range(3))
        shift, evaluations = np.full(shape[:2], np.nan), 0
        with blamed(self.model):
            predictor.check(steps)
            prediction = predictor.predict(steps)
            for place in bar(range(len(steps.ids))):
                count = int(steps.lengths[place])
                # What carries a state is compiled for a length; of a black box each step is asked.
                series = (
                    on_device(carried[place], float) if predictor.stepwise else steps.of_one(place)
                )
                found = fit_importance(
                    predictor.made, self.generator_, series, samples=self.samples, key=key
                )  # fmt: skip
                for into, part in (
                    (score, found.score), (left, found.unexplained),
                    (error, found.standard_error), (shift, found.temporal_shift),
                ):  # fmt: skip
                    assert part is not None
                    into[place, :count] = np.asarray(part)[:count]
                evaluations += int(found.evaluations)
        return SeriesExplanations(
            steps.ids, steps.written, steps.times, steps.values, score, left, error, shift,
            prediction, self._outputs(prediction),
            steps.lengths, evaluations, steps.names, steps.time_unit, steps.source,
        )  # fmt: skip

    def _outputs(self, prediction: np.ndarray) -> tuple[str, ...]:
        if self.kind == "gaussian":
            return GAUSSIAN
        named = getattr(self.model, "classes_", None)
        return tuple(map(str, range(prediction.shape[2]) if named is None else named))

    def _predictor(self) -> Predictor:
        if self.model is None:
            raise ValueError(
                "`model` is missing: SeriesExplainer(model), or `load(folder, model=function)`."
            )
        return Predictor(
            self.model, self.outputs, self.kind, self.batch_size, self.step_, self.variables_
        )

    def _learn(self, steps: Steps, generator: np.random.RandomState) -> None:
        values = steps.values
        parts = self._parts(values, generator)
        train, choose, _ = (values, None, None) if parts is None else parts
        try:
            self.generator_, info = fit_generator(
                train, hidden=_HIDDEN, components=_COMPONENTS,
                steps=self.max_steps or (_FEW if parts is None else _MOST), validation=choose,
                patience=None if parts is None else _PATIENCE, progress=self.progress,
                key=jr.key(self.seed_),
            )  # fmt: skip
        except TrainingError as error:
            # What it had learned until then is finite, and as good as any other stop.
            self.generator_, info = error.model, error.info
        self.n_steps_, self.report_ = int(info.best_step or info.step), None
        if parts is None:
            self.notes_.append(
                f"The generator of hidden measurements is of {len(values)} series, none of which "
                f"was held out: how good it is, is not known. Fit to {_FEWEST} or more."
            )
            return
        self.report_ = {"series": len(parts[2]), **_beside(self.generator_, train, parts[2])}
        ours, plain = self.report_["generator"], self.report_["independent"]
        better = "more" if ours > plain else "less"
        self.notes_.append(
            f"The generator gives values of {len(parts[2])} held-out series "
            f"{abs(ours - plain):.2g} nats {better} each than a normal distribution of each "
            "variable by itself"
            + ("." if ours > plain else ": the scores know little of what goes together; fit to "
               "more series.")
        )  # fmt: skip

    def _parts(
        self, values: np.ndarray, generator: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Series to train on, to stop by, and to tell by; None of few."""
        if len(values) < _FEWEST:
            return None
        order, held = generator.permutation(len(values)), round(len(values) * _HELD_OUT)
        test, choose, train = (
            values[part] for part in (order[:held], order[held : 2 * held], order[2 * held :])
        )
        # A rare variable must be among what is trained on.
        return None if np.isnan(train).all(axis=(0, 1)).any() else (train, choose, test)

    def _check_settings(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}; got {self.kind!r}.")
        if self.outputs not in (None, "probabilities", "logits"):
            raise ValueError(
                f"`outputs` must be 'probabilities' or 'logits', got {self.outputs!r}."
            )
        step = self.step
        if step is not None and not (isinstance(step, Real) and 0 < step < np.inf):
            raise ValueError(f"`step` must be a finite number above 0, got {step!r}.")
        names = self.variables
        listed = names is None or (isinstance(names, Sequence) and not isinstance(names, str))
        if not listed or len(set(names or ())) < len(names or ()):
            raise ValueError(
                f"`variables` must be a list of names, each of them once; got {names!r}."
            )
        positive(samples=self.samples)
        if self.samples < 2:
            raise ValueError("`samples` must be 2 or more, for scores have standard errors; got 1.")
        check_max_steps(self.max_steps)
        if self.max_steps == 0:
            raise ValueError("`max_steps` must be 1 or more: a generator is learned; got 0.")

    def _tell_other_names(self, given: LongTable) -> None:
        """Say that a variable is not there and another is: it may be the same by another name."""
        there = given.series.variables
        other = [name for name in there if name not in self.variables_]
        lost = [name for name in self.variables_ if name not in there]
        if other and lost:
            warnings.warn(
                f"{given.source} has no value of {', '.join(map(repr, lost))}, and has "
                f"{', '.join(map(repr, other))}, which the explainer was not fitted to and the "
                "model is not given: is it another name of the same?",
                stacklevel=3,
            )

    def _names(self) -> dict[str, Any]:
        names = "series time variable value time_format decimal on_duplicate".split()
        return {name: getattr(self, name) for name in names}

    def _settings(self) -> dict[str, Any]:
        model, self.model = self.model, None  # a function is no JSON
        try:
            return super()._settings()
        finally:
            self.model = model

    def _arrays(self) -> dict[str, np.ndarray]:
        leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(self.generator_, eqx.is_array))
        return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.variables_ = tuple(self.variables_)
        like = ConditionalGenerator(
            len(self.variables_), hidden=_HIDDEN, components=_COMPONENTS, key=jr.key(0)
        )
        pick = lambda path, leaf: on_device(arrays[jax.tree_util.keystr(path)]) if (
            eqx.is_array(leaf)
        ) else leaf  # fmt: skip
        self.generator_ = jax.tree_util.tree_map_with_path(pick, like)

    def _card(self) -> list[str]:
        return [
            f"SeriesExplainer, fitted to {self.data_['source']}: {self.data_['rows']} series, "
            f"{self.n_steps_} training steps",
            f"variables: {', '.join(self.variables_)}",
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        return [f"pullback explain {name} FILE --model my.py:predict --out why"]

    def _report(self, given: Any) -> Report:
        from ._series_explainer_page import explainer_page

        found = given if isinstance(given, SeriesExplanations) else self.explain(given)
        return explainer_page(self, found)


def _beside(generator: Any, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """How likely held-out values are, in nats a value, in units of their standard deviations."""
    mean, deviation = np.nanmean(train, axis=(0, 1)), np.nanstd(train, axis=(0, 1))
    deviation = np.where(deviation > 0, deviation, 1.0)
    seen = ~np.isnan(test)
    scale = float((seen.sum(axis=(0, 1)) * np.log(deviation)).sum())
    ours = jax.jit(jax.vmap(lambda x: series_log_prob(generator, x)))(on_device(test, float))
    squares = np.square((test - mean) / deviation)[seen]
    return {
        "generator": (float(np.sum(np.asarray(ours, np.float64))) + scale) / int(seen.sum()),
        "independent": float(-0.5 * (squares + np.log(2 * np.pi)).mean()),
    }
