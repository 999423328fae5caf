"""`SeriesModel`: irregular series filled in and continued, with bands that cover what they say."""

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback.data import IrregularSeries, LongTable

from . import _series_nets as nets
from ._beside import beside
from ._net_arrays import arrays_of
from ._page import Report
from ._series_ahead import times_ahead, warn_of_far
from ._series_asked import Asked, Known, ask, fold_by_fold
from ._series_bands import Bands, Errors, fit_bands
from ._series_core import Core, fit_core, split
from ._series_outcome import SUMMARIES, Outcome, fit_outcome, summaries
from ._series_page import series_card, series_page
from ._series_process import Process
from ._series_report import compare, outcome_verdict, rivals, uses, verdicts
from ._series_rows import (
    Scale,
    SeriesTable,
    outcomes,
    read_series,
    table,
    time_name,
    usable,
    warn_of_unknown,
    with_times,
)
from ._task import AbstractTask

_FOLDS = 5  # of `reconstruct`


class SeriesModel(AbstractTask):
    r"""Irregular, partly observed series: filled in, continued, and told apart.

    $$ x_k(t) = f_k(t \mid \mathrm{observed}) + a_k + u_k(t) + \varepsilon_k $$

    where f is what a neural network makes of all variables of a series, and the rest is a Gaussian
    process for each variable (see `Process`), of which the mean, the last value carried on and
    linear interpolation are limits. With f = 0, where training starts, the model is that process,
    and it stays so where f does not gain for sure on held-out series: for each variable, for
    filling in and for forecasts apart. `report_` compares it with those rivals on series that took
    no part.

    Bands hold a new value with the probability that is asked for: their widths are quantiles of the
    errors on held-out series, for each variable by how far off the nearest value of it is, so they
    hold what they say of series like those, whatever the network believes.

    Args:
        method: "latent-ode"; "ode-rnn" or "neural-cde", whose f looks back only; or "latent-sde",
            which takes several times as long.
        series: the name of the column with the series; None: the one with a usual name, and so for
            the next three.
        time: of the column with the times, numbers or dates.
        variable: of the column with the variables' names.
        value: of the column with the numbers.
        time_format: how dates are written, a pattern such as "%d.%m.%Y"; None: ISO 8601.
        decimal: the sign before fractions, "." or ","; None: as the file shows it.
        on_duplicate: where a variable of a series has several values at one time: "error", "mean"
            or "last".
        max_steps: the most training steps; None chooses by the series; 0 is the process.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        variables_: the variables that the model is of.
        left_out_: of each other variable, why.
        notes_: what was done, and who wins, in sentences.
        report_: errors on held-out series beside others, with standard errors, and shares of values
            in the bands.
        scale_: of times and values.
        core_: the process, the network, and for which variables it is used.
        bands_: the quantiles.
        horizon_: how far ahead forecasts were checked, in the unit of the times.
        n_steps_: training steps.
        classes_: of the outcome, if there was one.
        data_: where the series came from, and how many.

    Raises:
        ValueError: a setting or the series do not fit; the message says which and how.

    Example:
        >>> import numpy as np, pandas as pd, pullback as pb
        >>> random, rows = np.random.default_rng(0), []
        >>> for k in range(20):
        ...     times = np.arange(12) + random.uniform(0, 0.9, 12)
        ...     rows += [(k, t, "pulse", 70 + k + random.normal()) for t in times]
        >>> ward = pd.DataFrame(rows, columns=["patient", "time", "variable", "value"])
        >>> model = pb.tasks.SeriesModel(random_state=0).fit(ward)
        >>> found = model.forecast(ward[ward.patient == 3], until=14, every=1, level=0.9)
        >>> found.to_frame().columns.tolist()
        ['patient', 'time', 'variable', 'part', 'mean', 'lower', 'upper']
        >>> bool(70 < found.mean[0] < 76)
        True

    Source: Rubanova et al., Latent ODEs for Irregularly-Sampled Time Series, arXiv 1907.03907; Li
        et al., Scalable Gradients for Stochastic Differential Equations, arXiv 2001.01328; Kidger
        et al., Neural Controlled Differential Equations, arXiv 2005.08926.
    """

    _found: ClassVar[tuple[str, ...]] = (
        "variables_", "units_", "time_unit_", "left_out_", "notes_", "data_", "report_",
        "horizon_", "n_steps_", "classes_", "outcome_report_", "size_", "named_", "written_",
    )  # fmt: skip

    def __init__(
        self,
        method: str = "latent-ode",
        *,
        series: str | None = None,
        time: str | None = None,
        variable: str | None = None,
        value: str | None = None,
        time_format: str | None = None,
        decimal: str | None = None,
        on_duplicate: str = "error",
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.method = method
        self.series = series
        self.time = time
        self.variable = variable
        self.value = value
        self.time_format, self.decimal = time_format, decimal
        self.on_duplicate = on_duplicate
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "SeriesModel":
        """Fit the model to a long table, its file, or `pb.data.IrregularSeries`.

        Rows without a value are times at which nothing was observed.

        Args:
            X: the series: of each row series, time, variable and value.
            y: an outcome of each series, for `predict_proba`: a mapping from series to outcome, a
                table or file with a column of series and one of outcomes, or one for each series.
                `IrregularSeries` may bring its own.
        """
        if self.method not in nets.METHODS:
            known = ", ".join(map(repr, nets.METHODS))
            raise ValueError(f"`method` must be one of {known}; got {self.method!r}.")
        if self.max_steps is not None and self.max_steps < 0:
            raise ValueError(f"`max_steps` must be 0 or more, got {self.max_steps}.")
        given = read_series(X, self._names())
        generator = check_random_state(self.random_state)
        series, self.left_out_, self.data_ = usable(given)
        self.named_ = given.series.variables
        empty = len(given.series.ids) - len(series.ids)
        self.notes_ = [f"{empty} series have no value and were left out."] if empty else []
        parts = split(len(series.ids), generator)
        some = series.take(parts[0]).mask.any(axis=(0, 1))
        if not some.all():
            names = np.asarray(series.variables, object)
            self.left_out_ |= dict.fromkeys(names[~some], "too few series have a value of it")
            series = series.select(names[some].tolist())
        self.scale_ = Scale.of(series.take(parts[0]))
        self.variables_, self.units_, self.time_unit_ = self.scale_[:3]
        written = dict(zip(given.series.variables, given.written, strict=True))
        self.written_ = tuple(written[name] for name in self.variables_)
        known = self.scale_.apply(series)
        train = known.take(parts[0])
        choose, test = (ask(known.take(part), generator) for part in parts[1:])
        self.size_ = nets.Size.of(self.method, train.mask, self.max_steps)
        self.core_, self.n_steps_ = fit_core(
            self.size_, train, choose, test, generator=generator, progress=self.progress
        )
        self._calibrate(choose, test)
        self.outcome_, self.classes_, self.outcome_report_ = None, None, None
        if y is None and series.targets is not None:
            y = dict(zip(series.ids, series.targets.tolist(), strict=True))
        if y is not None:
            self.classes_, label = outcomes(y, given, series.ids)
            plain = len(SUMMARIES) * len(self.variables_)
            self.outcome_, self.outcome_report_ = fit_outcome(
                self._features(known), label, plain, parts
            )
            self.notes_.append(outcome_verdict(self.outcome_report_))
        return self

    def impute(self, X: Any, *, level: float | int = 0.9) -> SeriesTable:
        """Every variable at every time of each series, also at times without a value.

        Args:
            X: series, of any length and times, also ones that the model has not seen.
            level: the probability that a value lies in its band.

        Returns:
            A row for each series, time and variable; of what was observed mean and band are it.
        """
        given, series = self._given(X)
        which = np.repeat(series.on_grid[:, :, None], len(self.variables_), axis=2)
        return table(
            given, self.written_, series, which, "imputed", self._bands_of(series, level), level
        )

    def reconstruct(self, X: Any, *, level: float | int = 0.9) -> SeriesTable:
        """What the model says of each value without having seen it: a fifth is hidden at a time.

        A value outside of its band does not fit the rest of its series.

        Args:
            X: series.
            level: the probability that a value lies in its band.

        Returns:
            A row for each value.
        """
        given, series = self._given(X)
        bands = np.zeros((3, *series.mask.shape))
        for shown in fold_by_fold(self.scale_.apply(series), _FOLDS, np.random.RandomState(0)):
            hidden = series.mask & ~shown
            seen = series._replace(mask=shown, values=np.where(shown, series.values, 0.0))
            bands[:, hidden] = np.stack(self._bands_of(seen, level))[:, hidden]
        told = (bands[0], bands[1], bands[2])
        return table(given, self.written_, series, series.mask, "reconstructed", told, level)

    def forecast(
        self, X: Any, *, until: Any, every: float | int | None = None, level: float | int = 0.9
    ) -> SeriesTable:
        """What comes after the last value of each series.

        Args:
            X: series.
            until: the last time: a number in the unit of the times, a date where they are dates, or
                text such as "+12", so far after each series' own last time.
            every: the step between times, which lie on its multiples; None: as usual in a series.
            level: the probability that a value lies in its band.

        Returns:
            A row for each series, time after its last value, and variable. A series that goes on
            beyond `until` has none.
        """
        given, series = self._given(X)
        every = float(self.report_["usual_gap"] if every is None else every)
        if not every > 0:
            raise ValueError(f"`every` must be above 0, got {every}.")
        series = series.compact()
        last = series.times[:, -1].astype(np.float64)
        asked = times_ahead(series, last, until, every)
        wide = with_times(series, asked)
        after = wide.on_grid & (wide.times > last[:, None])
        warn_of_far(
            wide.times[after] - np.broadcast_to(last[:, None], after.shape)[after],
            self.horizon_,
            time_name(self.time_unit_),
        )
        which = np.repeat(after[:, :, None], len(self.variables_), axis=2)
        return table(
            given, self.written_, wide, which, "forecast", self._bands_of(wide, level), level
        )

    def transform(self, X: Any) -> Float[np.ndarray, "series features"]:
        """Numbers that say what is known of each series, whatever its length.

        Of each variable the mean, last, least and greatest value (the last as the process smooths
        it), and ln(1 + their number), in standard deviations of the variable; then the network's
        code. `get_feature_names_out` has their names.
        """
        _, series = self._given(X)
        return self._features(self.scale_.apply(series))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of what `transform` returns."""
        check_is_fitted(self)
        names = [f"{name} {what}" for name in self.variables_ for what in SUMMARIES]
        if self.core_.network is not None:
            names += [f"code {k + 1}" for k in range(self.size_.codes)]
        return np.asarray(names, object)

    def predict_proba(self, X: Any) -> Float[np.ndarray, "series classes"]:
        """The probability of each of `classes_`, by a logistic regression on `transform`."""
        check_is_fitted(self)
        if self.outcome_ is None:
            raise ValueError("the model was fitted without outcomes; give them to `fit` as `y`.")
        return np.exp(self.outcome_.log_prob(self.transform(X)))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest outcome of each series."""
        found = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_)[found]

    def series_names(self, X: Any) -> list[str]:
        """The names of series, in the order of `transform` and `predict_proba`."""
        return list(self._given(X)[1].ids)

    def score(self, X: Any, y: Any = None) -> float:
        """The share of the variance that `reconstruct` explains, averaged over variables."""
        told = self.reconstruct(X)
        _, series = self._given(X)
        value, place = series.values[series.mask], np.nonzero(series.mask)[2]
        square = np.square((told.mean - value) / self.scale_.deviation[place])
        return float(1 - np.mean([square[place == k].mean() for k in np.unique(place)]))

    def _outcomes(self, X: Any) -> dict[str, list[Any]]:
        """A row for each series: its name, the probability of each outcome, and the likeliest."""
        given = read_series(X, self._names())
        prob, classes = self.predict_proba(given), self.classes_ or []
        columns = {given.columns["series"]: list(given.series.ids)}
        told = {f"p_{name}": p.tolist() for name, p in zip(classes, prob.T, strict=True)}
        return beside(columns, told | {"predicted": [classes[k] for k in prob.argmax(axis=1)]})

    def _names(self) -> dict[str, Any]:
        names = "series time variable value time_format decimal on_duplicate".split()
        return {name: getattr(self, name) for name in names}

    def _calibrate(self, choose: Asked, test: Asked) -> None:
        """Bands of all held-out series; how good all is, by bands without those that tell it."""
        told = [self.core_.tell(part.seen) for part in (choose, test)]
        errors = [Errors.of(part, *each) for part, each in zip((choose, test), told, strict=True)]
        variables = len(self.variables_)
        before = fit_bands(errors[0], variables)
        self.bands_ = fit_bands(errors[0].beside(errors[1]), variables)
        others = rivals(test, self.core_.alone.predict(*test.seen)[0])
        self.report_ = compare(test, told[1][0], others, told[1][1], before, self.variables_)
        back = self.scale_.span / nets.SPAN
        gaps = np.diff(choose.known.times, axis=1)
        usual = np.median(gaps[gaps > 0]) if (gaps > 0).any() else 1.0
        self.report_["usual_gap"] = float(back * usual)
        self.horizon_ = back * self.core_.reach
        if self.left_out_:
            why = "; ".join(f"{name} ({why})" for name, why in self.left_out_.items())
            self.notes_.append(f"Variables left out: {why}.")
        kept = None if self.core_.network is None else self.core_.kept
        self.notes_ += [*uses(self.method, self.variables_, kept), *verdicts(self.report_)]

    def _features(self, known: Known) -> Float[np.ndarray, "s f"]:
        found = [summaries(known, self.core_.alone.predict(*known)[0])]
        if self.core_.network is not None:
            found.append(nets.ask(self.core_.network, known)[1])
        return np.concatenate(found, axis=1)

    def _given(self, X: Any) -> tuple[LongTable, IrregularSeries]:
        check_is_fitted(self)
        given = read_series(X, self._names())
        warn_of_unknown(given.series, self.named_)
        return given, self.scale_.select(given.series)

    def _bands_of(
        self, series: IrregularSeries, level: float | int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and band at every time of series, in their units."""
        if not 0 < level < 1:
            raise ValueError(f"`level` must be above 0 and below 1, got {level}.")
        seen = self.scale_.apply(series)
        mean, deviation = self.core_.tell(seen)
        width = self.bands_.width(level, seen.times, seen.mask, deviation)
        back = lambda x: x * self.scale_.deviation + self.scale_.mean
        return back(mean), back(mean - width), back(mean + width)

    def _arrays(self) -> dict[str, np.ndarray]:
        core, scale = self.core_, self.scale_
        arrays = {"mean": scale.mean, "deviation": scale.deviation, "kept": core.kept}
        arrays |= {"span": np.asarray(scale.span), "reach": np.asarray(core.reach)}
        records: Any = {"alone": core.alone, "rest": core.rest, "bands": self.bands_}
        if self.outcome_ is not None:
            records["outcome"] = self.outcome_
        for name, record in records.items():
            arrays |= {f"{name}.{field}": array for field, array in record._asdict().items()}
        return arrays | ({} if core.network is None else arrays_of(core.network))

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        for name in ("variables_", "units_", "named_", "written_"):
            setattr(self, name, tuple(getattr(self, name)))
        self.size_ = nets.Size(*self.size_)
        of = lambda kind, name: kind(*(arrays[f"{name}.{field}"] for field in kind._fields))
        self.scale_ = Scale(
            self.variables_, self.units_, self.time_unit_, arrays["mean"], arrays["deviation"],
            arrays["span"].item(),
        )  # fmt: skip
        trained = any(name.startswith("net") for name in arrays)
        network = nets.from_arrays(self.size_, arrays) if trained else None
        alone, rest = of(Process, "alone"), of(Process, "rest")
        self.core_ = Core(alone, rest, network, arrays["kept"], arrays["reach"].item())
        self.bands_ = of(Bands, "bands")
        self.outcome_ = of(Outcome, "outcome") if self.classes_ is not None else None

    def _card(self) -> list[str]:
        return series_card(self)

    def _commands(self, name: str) -> list[str]:
        return [
            f"pullback impute {name} FILE --out filled.csv",
            f"pullback forecast {name} FILE --until TIME --out forecast.csv",
            *([f"pullback predict {name} FILE --out outcomes.csv"] if self.classes_ else []),
        ]

    def _report(self, given: Any) -> Report:
        return series_page(self, read_series(given, self._names()))
