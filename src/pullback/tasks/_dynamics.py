"""`DynamicsModel`: the law by which measured trajectories change, as a neural ODE."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri
from scipy.stats import t as student
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._collocation import NAMES, known_at
from ._field import Frame, Known, paths, rates, stacked, trained_parts
from ._frame import is_frame
from ._learning import errors_of, frame_of_paths, learn
from ._page import Report
from ._pieces import Held, Pieces, hold_out, pieces_of
from ._rivals import compare, rivals, verdict
from ._smooth import Smooth, noise_of, smooth
from ._store import ModelError
from ._task import AbstractTask
from ._trajectories import read_trajectories

_LEVELS = np.linspace(0, 1, 201)
_PROBES = 8


class Simulation(NamedTuple):
    """Paths from given states, and bands in which a measurement lies.

    Attributes:
        ts: the times.
        mean: states at them, `[T, d]`, or `[n, T, d]` of n starts.
        lower: the lower end of the band of each.
        upper: the upper end.
    """

    ts: Float[np.ndarray, " T"]
    mean: Float[np.ndarray, "..."]
    lower: Float[np.ndarray, "..."]
    upper: Float[np.ndarray, "..."]


class DynamicsModel(AbstractTask):
    r"""The field by which measured trajectories change, to simulate from new starts.

    $$ \frac{dy}{dt} = g(t, y) + p(y) + n(y) $$

    with g what is known, p a polynomial of degree 0 to 3 and n a net. Slopes of smoothing splines
    give p by regression (gradient matching); then p, and p and n together, are trained on the
    measurements by multiple shooting: pieces of trajectories of a few times, whose starts are
    learned and whose ends must meet the next start, so that long oscillations do not stop it. Each
    step is kept where forecasts of held-out data gain by it. Of 8 trajectories or more whole ones
    are held out, else the last 30 % of each: half to choose by, half to tell how good it is.
    Five fields, each of its own draw of weights of the pieces, make the bands.

    What is learned does not depend on the time; forces that do go into `known`. Beyond the box of
    the trajectories and half as much again, p and n go on as at its walls, but for the linear part.

    Args:
        known: the known part of the field, `known(t, y, args)` with `args` None, of JAX's
            functions, in the table's units: the rate of change of one state, `[d]`. It is not
            saved; `load(folder, known=...)` takes it again, and checks that it is the same.
        time: the column of times; None looks for t or time.
        columns: the columns of the states; None takes all of numbers.
        series: the column that tells trajectories apart; None looks for one, such as series or id.
        max_steps: the most training steps of each of the two trainings; None chooses; 0 is the
            regression.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        columns_, time_, series_: names.
        kind_: what was kept: "linear", "cubic and a net", ...
        noise_: the deviation of a measurement of each column, from smooth paths.
        report_: root mean squared errors of held-out forecasts in deviations of the columns, beside
            others; None where nothing could be held out.
        coverage_: the share of held-out values inside of bands of 90 %, or None.
        n_steps_: training steps.
        notes_: what was done, how good it is and who wins, in sentences.
        data_: where the trajectories came from, and their digest.

    Raises:
        ValueError: a setting or the data do not fit; the message says which and how.

    Example:
        >>> import numpy as np, pullback as pb
        >>> ts = np.linspace(0, 6, 30)
        >>> ys = np.stack([np.cos(ts), -np.sin(ts)], axis=1)
        >>> model = pb.tasks.DynamicsModel(random_state=0).fit(ts, ys)
        >>> model.kind_, bool(np.allclose(model.field(0.0, [0.0, 1.0]), [1, 0], atol=0.01))
        ('linear', True)
        >>> simulated = model.simulate([0.0, 1.0], [0.0, np.pi / 2])
        >>> bool(np.allclose(simulated.mean[-1], [1, 0], atol=0.01))
        True

    Source: Chen et al., Neural Ordinary Differential Equations, arXiv 1806.07366.
    """

    _found = (
        "columns_", "time_", "series_", "kind_", "order_", "netted_", "noise_", "report_",
        "coverage_", "n_steps_", "notes_", "data_", "has_known_", "span_",
    )  # fmt: skip

    def __init__(
        self,
        *,
        known: Known | None = None,
        time: str | None = None,
        columns: Sequence[str] | None = None,
        series: str | None = None,
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.known = known
        self.time = time
        self.columns = columns
        self.series = series
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "DynamicsModel":
        """Fit the field of a table, or of times and states: `fit(ts, ys)`.

        Args:
            X: a CSV or Parquet file or a data frame: wide, with a column of times, one for each
                state and, of several trajectories, one that tells them apart; or long, with the
                columns `variable` and `value`. Or an `IrregularSeries`. Or, with `y`, times `[n]`,
                or a list of such. Rows may come in any order; holes are left out cell by cell, and
                rows of one time taken by their mean.
            y: the states, `[n, d]`, or a list of such; `[m, n, d]` of m trajectories at the same
                times.
        """
        if self.max_steps is not None and self.max_steps < 0:
            raise ValueError(f"`max_steps` must be 0 or more, got {self.max_steps}.")
        measured = read_trajectories(X, y, time=self.time, columns=self.columns, series=self.series)
        self.columns_, self.time_, self.series_ = measured.columns, measured.time, measured.series
        self.notes_ = [*measured.notes]
        ts, ys = (np.concatenate([path[k] for path in measured.paths]) for k in (1, 2))
        self.span_ = float(max(path.ts[-1] - path.ts[0] for path in measured.paths))
        self.data_ = {
            "source": measured.source,
            "rows": measured.rows,
            "trajectories": len(measured.paths),
            "file": measured.is_file,
            "sha256": hashlib.sha256(ts.tobytes() + ys.tobytes()).hexdigest(),
        }
        generator = check_random_state(self.random_state)
        held = hold_out(measured.paths, generator)
        smooths = [smooth(path) for path in held.train]
        self.frame_ = frame_of_paths(smooths)
        self.noise_ = noise_of(smooths).tolist()
        self.has_known_ = self.known is not None
        self._keep_probes(smooths)
        choose = pieces_of(held.choose)
        found = learn(
            smooths, held, choose, self.frame_, self.known, self._noise(),
            max_steps=self.max_steps, progress=self.progress, generator=generator,
        )  # fmt: skip
        self.fields_, self.order_, self.netted_, self.n_steps_ = found
        self.kind_ = NAMES[self.order_] + (" and a net" if self.netted_ else "")
        self._calibrate(choose, few=held.few)
        self._tell(smooths, held, choose)
        return self

    def simulate(self, y0: Any, ts: Any, *, level: float | int = 0.9) -> Simulation:
        """Paths from states at the first time on, or back from it.

        Args:
            y0: a state: numbers in the order of `columns_`, or a mapping from their names; or n
                states, `[n, d]` or a data frame.
            ts: times, all rising or all falling; the first is that of `y0`.
            level: the share of measurements that the bands are to hold, each by itself.

        Returns:
            A `Simulation`: the mean of the five fields' paths, and bands by their spread and by the
            noise, as wide as held-out data asked for.

        Raises:
            ValueError: `y0`, `ts` or `level` does not fit.
            RuntimeError: a path could not be followed: its field is too steep there.
        """
        check_is_fitted(self)
        start, single = self._starts(y0)
        times = np.asarray(ts, np.float64)
        if times.ndim != 1 or len(times) < 1 or not np.isfinite(times).all():
            raise ValueError(f"`ts` must be one or more finite times, [T]; got {ts!r}.")
        gaps = np.diff(times)
        if not ((gaps >= 0).all() or (gaps <= 0).all()):
            raise ValueError("`ts` must be all rising or all falling.")
        if not 0 < level < 1:
            raise ValueError(f"`level` must be between 0 and 1, got {level}.")
        found = paths(self.fields_, self.frame_, start, np.tile(times, (len(start), 1)))
        if not np.isfinite(found).all():
            at = times[np.flatnonzero(~np.isfinite(found).all(axis=(0, 1, 3)))[0]]
            raise RuntimeError(
                f"the path could not be followed to {self.time_} = {at:g}: the field is too steep "
                "there. Ask for earlier times, or start nearer to the data."
            )
        mean, half = found.mean(axis=0), self._reach(level) * self._deviation(found)
        half[:, 0] = 0  # the start is given
        parts = (mean, mean - half, mean + half)
        return Simulation(times, *((part[0] for part in parts) if single else parts))

    def field(self, t: Any, y: Any) -> Float[np.ndarray, "... d"]:
        """The rate of change of states, a unit of time, in the table's units.

        Args:
            t: a time, or one for each state; it matters to what is known alone.
            y: a state, `[d]`, or states, `[n, d]`.
        """
        check_is_fitted(self)
        start, single = self._starts(y)
        times = np.broadcast_to(np.asarray(t, np.float64), (len(start),))
        found = rates(self.fields_, self.frame_, times, start)
        return found[0] if single else found

    def _starts(self, y0: Any) -> tuple[Float[np.ndarray, "n d"], bool]:
        single = False
        if isinstance(y0, Mapping) or is_frame(y0):
            missing = [name for name in self.columns_ if name not in y0]
            if missing:
                raise ValueError(
                    f"a state needs {', '.join(self.columns_)}; missing: {', '.join(missing)}."
                )
            values = np.stack([np.asarray(y0[name], np.float64) for name in self.columns_], axis=-1)
        else:
            values = np.asarray(y0, np.float64)
        if values.ndim == 1:
            values, single = values[None], True
        if values.ndim != 2 or values.shape[1] != len(self.columns_) or not len(values):
            raise ValueError(
                f"a state has {len(self.columns_)} numbers ({', '.join(self.columns_)}); got shape "
                f"{list(np.shape(y0))}."
            )
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise ValueError(
                f"a state must be finite; {self.columns_[column]} of state {row + 1} is "
                f"{values[row, column]}."
            )
        return values, single

    def _noise(self) -> Float[np.ndarray, " d"]:
        return np.asarray(self.noise_)

    def _deviation(self, found: Float[np.ndarray, "k n t d"]) -> Float[np.ndarray, "n t d"]:
        least = 1e-4 * self.frame_.scale
        return np.sqrt(found.var(axis=0, ddof=1) + self._noise() ** 2 + least**2)

    def _calibrate(self, pieces: Pieces, *, few: bool) -> None:
        """How many deviations a band must reach, from pieces held out."""
        apart = self._apart(pieces)
        inner = np.clip(_LEVELS, 1e-6, 0.9995)
        normal = ndtri((1 + inner) / 2)
        self.levels_, self.reaches_ = _LEVELS, normal
        if not few:
            # Of few pieces their spread is not known, so bands are as Student's to the normal.
            wider = student.ppf((1 + inner) / 2, len(pieces.ts)) / normal
            self.reaches_ = wider * np.quantile(apart[~np.isnan(apart)], inner)

    def _apart(self, pieces: Pieces) -> Float[np.ndarray, "p t d"]:
        """How far forecasts from measured starts are off, in deviations of the bands."""
        start = np.where(np.isnan(pieces.ys[:, 0]), pieces.starts, pieces.ys[:, 0])
        found = paths(self.fields_, self.frame_, start, pieces.ts)
        return (np.abs(found.mean(axis=0) - pieces.ys) / self._deviation(found))[:, 1:]

    def _reach(self, level: float | int) -> float:
        return float(np.interp(level, self.levels_, self.reaches_))

    def _tell(self, smooths: list[Smooth], held: Held, choose: Pieces) -> None:
        """How good forecasts of held-out data are, beside others."""
        self.report_ = self.coverage_ = None
        self.notes_.append(f"The field is {self.kind_}" + (
            f", after {self.n_steps_} training steps." if self.n_steps_ else ", by regression."
        ))  # fmt: skip
        if held.few:
            self.notes_.append(
                "Too few times to hold any out, so nothing says how good forecasts are."
            )
            return
        pieces = pieces_of(held.test)
        own = errors_of(self.fields_, self.frame_, pieces)
        others = rivals(smooths, self.frame_, pieces, self.known, choose)
        self.report_ = compare(own, others)
        apart = self._apart(pieces)
        self.coverage_ = float((apart <= self._reach(0.9))[~np.isnan(apart)].mean())
        self.notes_.append(held.sentence)
        self.notes_.append(verdict(self.report_))
        self.notes_.append(f"Bands of 90 % held {100 * self.coverage_:.0f} % of those values.")

    def _keep_probes(self, smooths: list[Smooth]) -> None:
        """States at which what is known says whether it is the same again."""
        self.probes_ = {}
        if self.known is None:
            return
        ts = np.concatenate([part.path.ts for part in smooths])
        ys = np.concatenate([part.ys for part in smooths])
        places = np.linspace(0, len(ts) - 1, _PROBES).astype(int)
        ts, ys = ts[places], ys[places]
        self.probes_ = {"ts": ts, "ys": ys, "rates": known_at(self.known, ts, ys)}

    def _settings(self) -> dict[str, Any]:
        known, self.known = self.known, None  # a function is no JSON
        try:
            return super()._settings()
        finally:
            self.known = known

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"field.{k}": part for k, part in enumerate(trained_parts(self.fields_))}
        arrays |= {f"frame.{name}": np.asarray(v) for name, v in self.frame_._asdict().items()}
        arrays |= {f"known.{name}": value for name, value in self.probes_.items()}
        return arrays | {"levels": self.levels_, "reaches": self.reaches_}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.columns_ = tuple(self.columns_)
        if self.has_known_ and self.known is None:
            raise ModelError(
                "the model has a known part, a function, which is not saved: hand it over, "
                "`load(folder, known=function)`."
            )
        if self.known is not None and not self.has_known_:
            raise ModelError("the model was fitted without a known part; load it without `known`.")
        self.frame_ = Frame(*(arrays[f"frame.{name}"] for name in Frame._fields))
        self.frame_ = self.frame_._replace(time=self.frame_.time.reshape(()))
        self.probes_ = {
            name: arrays[f"known.{name}"] for name in ("ts", "ys", "rates") if self.has_known_
        }
        if self.known is not None:
            found = known_at(self.known, self.probes_["ts"], self.probes_["ys"])
            size = np.abs(self.probes_["rates"]).max() + 1e-30
            if not np.abs(found - self.probes_["rates"]).max() <= 1e-4 * size:
                raise ModelError(
                    "`known` is another function than the one fitted with: it gives other rates at "
                    "the states that were kept to tell."
                )
        names = sorted(
            (n for n in arrays if n.startswith("field.")), key=lambda n: int(n.split(".")[1])
        )
        parts = [arrays[name] for name in names]
        self.fields_ = stacked(
            parts[0], parts[1:], self.frame_, self.known, order=self.order_,
            gate=float(self.netted_),
        )  # fmt: skip
        self.levels_, self.reaches_ = arrays["levels"], arrays["reaches"]

    def _card(self) -> list[str]:
        many = self.data_["trajectories"]
        paths = "1 trajectory" if many == 1 else f"{many} trajectories"
        return [
            f"DynamicsModel of {self.data_['source']}: {self.data_['rows']} rows, {paths}",
            f"states: {', '.join(self.columns_)}; times: {self.time_}"
            + (f"; trajectories: {self.series_}" if self.series_ else ""),
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        if self.has_known_:
            return []
        start = ",".join(
            f"{c}={m:.3g}" for c, m in zip(self.columns_, self.frame_.mean, strict=True)
        )
        until = f"{self.span_:.3g}"
        return [
            f"pullback simulate {name} --start {start} --until {until} --out paths.csv",
            f"pullback simulate {name} STARTS.csv --until {until} --out paths.csv",
        ]

    def _report(self, given: Any) -> Report:
        from ._dynamics_page import dynamics_page

        return dynamics_page(self, given)
