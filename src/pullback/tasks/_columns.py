"""From columns as people measure them to columns that a density is fitted to, and back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from sklearn.covariance import ledoit_wolf

from pullback._location_scale import location_and_scale

from ._scores import Scores, fit_scores

_FEWEST = 8  # rows from which on a column may be found skewed, or on a grid
_OFF = 5e-4  # of a step, by which places of a grid may be off whole: decimals are rounded
_REPEATED = 0.05  # share of rows that repeat a value from which on a column has no density
_FOLLOWS = 1e-6  # share of a column's deviation that the columns before it leave unexplained


class ColumnMap(NamedTuple):
    r"""A map of columns to mean 0 and covariance I.

    $$ z = W\, t\Big(\frac{u - m}{s}\Big), \qquad u_j = x_j \text{ or } \ln x_j $$

    Attributes:
        log: columns that are positive and nearer to a normal distribution as logarithms.
        step: of a column on a grid (whole numbers, tenths) its step; 0 of others.
        origin: a place of that grid: 0 where 0 is one.
        mean: m.
        scale: s.
        whiten: W.
        scores: t, which takes each column to normal scores, or None for the identity.
    """

    log: Bool[np.ndarray, " d"]
    step: Float[np.ndarray, " d"]
    origin: Float[np.ndarray, " d"]
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    whiten: Float[np.ndarray, "d d"]
    scores: Scores | None

    def to_line(
        self, x: Float[np.ndarray, "n d"]
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        """z, and the log-determinant of dz/dx; minus infinity outside of the support.

        Entry by entry: no product of matrices, whose sums depend on how many rows there are.
        """
        columns, log_det = [], np.full(len(x), np.linalg.slogdet(self.whiten)[1])
        for j in range(x.shape[1]):
            u = np.ascontiguousarray(x[:, j])
            if self.log[j]:
                outside = u <= 0
                u = np.log(np.where(outside, 1.0, u))
                log_det = np.where(outside, -np.inf, log_det - u)
            t = (u - self.mean[j]) / self.scale[j]
            log_det = log_det - np.log(self.scale[j])
            if self.scores is not None:
                t, slope = self.scores.to_line(t, j)
                log_det = log_det + slope
            columns.append(t)
        z = [sum(w * t for w, t in zip(row, columns, strict=True)) for row in self.whiten]
        return np.stack(z, axis=1), log_det

    def from_line(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """x; columns on a grid are rounded to it."""
        t = np.linalg.solve(self.whiten, z.T).T
        if self.scores is not None:
            t = np.stack([self.scores.from_line(c, j) for j, c in enumerate(t.T)], axis=1)
        u = t * self.scale + self.mean
        with np.errstate(over="ignore"):
            x = np.where(self.log, np.exp(np.where(self.log, u, 0.0)), u)
        for column, step, origin in zip(x.T, self.step, self.origin, strict=True):
            column[:] = on_grid(column, float(step), float(origin))
        return x


def fit_columns(
    x: Float[np.ndarray, "n d"], repeats: "Repeats", *, copula: bool, logs: bool = True
) -> ColumnMap:
    """The map of rows without holes or repeats, of columns that vary.

    Args:
        x: rows.
        repeats: of the columns, whose noise is in x.
        copula: whether to bring each column to normal scores.
        logs: whether to take positive columns as logarithms that are nearer to a normal so.
    """
    log = logs & repeats.positive & np.asarray([skewed(column) for column in x.T])
    u = np.where(log, np.log(np.where(log, x, 1.0)), x)
    mean, scale, _ = location_and_scale(u)
    t, scores = (u - mean) / scale, None
    if copula:
        scores = fit_scores(t)
        t = np.stack([scores.to_line(c, j)[0] for j, c in enumerate(t.T)], axis=1)
    covariance, _ = ledoit_wolf(t)
    values, vectors = np.linalg.eigh(covariance)
    # Columns that nearly say the same have a direction almost without spread.
    values = np.maximum(values, 1e-10 * values.max())
    whiten = (vectors / np.sqrt(values)).T
    return ColumnMap(log, repeats.step, repeats.origin, mean, scale, whiten, scores)


def on_grid(x: Float[np.ndarray, " n"], step: float, origin: float) -> Float[np.ndarray, " n"]:
    """Numbers at the nearest place of a grid; as they are where its step is 0."""
    if step == 0:
        return x
    places = np.round((x - origin) / step)
    parts = np.round(1 / step)
    # 1255 hundredths are 12.55; 1255 times .01 is 12.550000000000002.
    whole = abs(parts * step - 1) < 1e-9
    return origin + (places / parts if whole else places * step)


class Repeats(NamedTuple):
    """How far apart the values of columns lie that repeat theirs.

    Attributes:
        step: of a column on a grid its step, else 0.
        origin: of such a grid a place: 0 where 0 is one.
        uneven: columns whose values repeat, and lie on none.
        positive: columns whose values are above 0, whatever noise is added.
    """

    step: Float[np.ndarray, " d"]
    origin: Float[np.ndarray, " d"]
    uneven: Bool[np.ndarray, " d"]
    positive: Bool[np.ndarray, " d"]

    @classmethod
    def of(cls, x: Float[np.ndarray, "n d"]) -> "Repeats":
        """Those of rows without holes."""
        found = [_step(column) for column in x.T]
        step = np.asarray([step or 0.0 for step in found], float)
        uneven = np.asarray([step is None for step in found], bool)
        lowest = x - 0.5 * _width(x, step, uneven)
        places = [_origin(column, s) for column, s in zip(x.T, step, strict=True)]
        origin = np.asarray(places, float)
        return cls(step, origin, uneven, np.all(lowest > 0, axis=0))

    def spread(
        self, x: Float[np.ndarray, "n d"], generator: np.random.RandomState
    ) -> Float[np.ndarray, "n d"]:
        """Rows with noise in the columns that repeat, of half a step or half way to the next value.

        Such columns have no density, but what is left of a step has one.
        """
        return x + _width(x, self.step, self.uneven) * generator.uniform(-0.5, 0.5, x.shape)


def _width(
    x: Float[np.ndarray, "n d"], step: Float[np.ndarray, " d"], uneven: Bool[np.ndarray, " d"]
) -> Float[np.ndarray, "n d"]:
    """How far noise may reach in all: a step, or the way to the nearer of a value's neighbours."""
    width = np.broadcast_to(step, x.shape).copy()
    for j in np.flatnonzero(uneven):
        values, places = np.unique(x[:, j], return_inverse=True)
        gaps = np.diff(values)
        width[:, j] = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0]))[places]
    return width


def _step(column: Float[np.ndarray, " n"]) -> float | None:
    """The step of a column whose values repeat and lie on a grid; 0 where none do, else None."""
    values = np.unique(column)
    if len(column) < _FEWEST or len(values) < 2 or len(values) > (1 - _REPEATED) * len(column):
        return 0.0
    reach = values[-1] - values[0]
    step = reach / np.round(reach / np.diff(values).min())
    places = (values - values[0]) / step
    on_grid = np.abs(places - np.round(places)).max() < _tolerance(values, float(step))
    # A grid on which most places are empty is none, but by chance.
    return float(step) if on_grid and places[-1] < 1e5 else None


def _origin(column: Float[np.ndarray, " n"], step: float) -> float:
    """The place of a grid that is nearest to 0; 0 itself but for rounding, and where is no grid."""
    if step == 0:
        return 0.0
    nearest = column[np.argmin(np.abs(column))]
    rest = float(nearest - np.round(nearest / step) * step)
    return rest if abs(rest) > _tolerance(column, step) * step else 0.0


def _tolerance(values: Float[np.ndarray, " n"], step: float) -> float:
    """By how much of a step rounding may move values: single precision by more than decimals do."""
    with np.errstate(over="ignore"):
        single = bool(np.all(values.astype(np.float32) == values))
    rounding = 4 * float(np.finfo(np.float32).eps) * float(np.abs(values).max()) / step
    return max(_OFF, min(0.05, rounding)) if single else _OFF


def skewed(column: Float[np.ndarray, " n"]) -> bool:
    """Whether a normal distribution fits the logarithms better, by likelihood."""
    if len(column) < _FEWEST or column.min() <= 0:
        return False
    logs = np.log(column)
    scale = location_and_scale(column).scale
    return bool(np.log(logs.std()) + logs.mean() < np.log(scale))


def with_a_density(x: Float[np.ndarray, "n d"], names: Sequence[str]) -> dict[int, str]:
    """Of the columns of rows without holes those that have no density, and why."""
    told, kept = {}, []
    mean, scale, constant = location_and_scale(x)
    for j, scaled in enumerate(((x - mean) / scale).T):
        if constant[j]:
            told[j] = "the same in all rows"
            continue
        if kept and len(x) > 2 * len(kept) + 2:
            before = np.stack(kept, axis=1)
            rest = scaled - before @ np.linalg.lstsq(before, scaled, rcond=None)[0]
            if rest.std() < _FOLLOWS:
                told[j] = "it follows from the columns before it"
                continue
        kept.append(scaled)
    return told


def describe(columns: ColumnMap, repeats: Repeats, names: Sequence[str]) -> list[str]:
    """What was done to the columns, in sentences."""
    told = []
    logs = [name for name, log in zip(names, columns.log, strict=True) if log]
    if logs:
        told.append(f"Positive and skewed, so taken as logarithms: {', '.join(logs)}.")
    steps = [f"{n} ({s:.4g})" for n, s in zip(names, columns.step, strict=True) if s > 0]
    if steps:
        told.append(
            "On a grid, so fitted with noise of half a step to either side: "
            f"{', '.join(steps)}; the density is that of the smooth curve at the value, and no "
            "probability of it."
        )
    uneven = [name for name, is_so in zip(names, repeats.uneven, strict=True) if is_so]
    if uneven:
        told.append(
            "Values that repeat, so fitted with noise of up to half the way to the next: "
            f"{', '.join(uneven)}."
        )
    if columns.scores is not None:
        told.append("Each column was brought to normal scores (copula).")
    return told
