"""Columns of numbers as normal scores by the quantiles seen, and back to values that can be."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from pullback._location_scale import location_and_scale

from ._columns import Repeats, on_grid

_OUTER = 0.025  # share of values at either end whose distance counts
_LEVELS = 4096  # quantiles of a column that are kept, at most


class Quantiles(NamedTuple):
    r"""The map of each column to normal scores, $t = \Phi^{-1}(F(x))$, with F as it was seen.

    The way back gives values between the least and the greatest seen. A value that repeats, such as
    0 in many rows, comes as often as it was seen, exactly; between two values that do not repeat
    there are others, and where all that were seen lie on a grid (whole numbers, tenths) these do.

    Attributes:
        levels: k quantiles of each column, rising.
        scale: its standard deviation, by which scores go on beyond the values seen.
        step: of a column on a grid its step; 0 of others, and infinity where there is nothing
            between the levels.
        origin: a place of that grid.
    """

    levels: Float[np.ndarray, "d k"]
    scale: Float[np.ndarray, " d"]
    step: Float[np.ndarray, " d"]
    origin: Float[np.ndarray, " d"]

    def to_scores(
        self, x: Float[np.ndarray, "n d"], generator: np.random.RandomState | None = None
    ) -> Float[np.ndarray, "n d"]:
        """t of rows; a value that repeats is in the middle of its share, or anywhere in it.

        Args:
            x: rows without holes.
            generator: of where in its share; None: in the middle.
        """
        count, columns = self.levels.shape[1], []
        for column, levels, scale in zip(x.T, self.levels, self.scale, strict=True):
            low, high = (np.searchsorted(levels, column, side) for side in ("left", "right"))
            within = 0.5 if generator is None else generator.uniform(size=len(column))
            place = low + 0.5 + within * (high - low - 1)
            left, right = levels[np.maximum(low - 1, 0)], levels[np.minimum(low, count - 1)]
            gap = np.where(right > left, right - left, 1.0)
            place = np.where(low == high, low - 0.5 + (column - left) / gap, place)
            t = ndtri(np.clip(place, 0.5, count - 0.5) / count)
            beyond = column - np.clip(column, levels[0], levels[-1])
            columns.append(t + beyond / scale)
        return np.stack(columns, axis=1) if columns else x

    def how_far(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Scores by which a value far beyond most is far, whether or not it was seen.

        Ranks know no distances: of the greatest value seen they say that it is that and no more.
        """
        t, count = self.to_scores(x), self.levels.shape[1]
        outer = max(1, round(_OUTER * count))
        places = [min(outer, count - 1), max(count - 1 - outer, 0)]
        ends, columns = self.levels[:, places].T, []
        edges = self.to_scores(ends)
        for j, column in enumerate(x.T):
            low, high = ends[:, j]
            above = edges[1, j] + (column - high) / self.scale[j]
            below = edges[0, j] + (column - low) / self.scale[j]
            rank = np.where(column > high, np.maximum(t[:, j], above), t[:, j])
            columns.append(np.where(column < low, np.minimum(rank, below), rank))
        return np.stack(columns, axis=1) if columns else t

    def from_scores(self, t: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """x of scores, each a value that can be."""
        count = self.levels.shape[1]
        place = np.clip(ndtr(t) * count - 0.5, 0, count - 1)
        low = np.minimum(place.astype(int), max(count - 2, 0))
        rest, columns = place - low, []
        for j, levels in enumerate(self.levels):
            repeated = np.append(np.diff(levels) == 0, False)
            repeated[1:] |= repeated[:-1]
            below, above = low[:, j], np.minimum(low[:, j] + 1, count - 1)
            # Beside a value that repeats there is nothing between it and the next.
            step = self.step[j]
            whole = repeated[below] | repeated[above] | np.isinf(step)
            share = np.where(whole, np.round(rest[:, j]), rest[:, j])
            x = levels[below] * (1 - share) + levels[above] * share
            if 0 < step < np.inf:
                x = on_grid(x, step, self.origin[j])
                for seen in (levels[below], levels[above]):
                    x = np.where(np.abs(x - seen) < step / 2, seen, x)
            columns.append(x)
        return np.stack(columns, axis=1) if columns else t


def fit_quantiles(x: Float[np.ndarray, "n d"]) -> Quantiles:
    """The map of rows without holes, of columns that vary."""
    repeats = Repeats.of(x)
    whole = np.all(x == np.round(x), axis=0) & (np.abs(x).max(axis=0) < 2**52)
    step = np.where(repeats.step == 0, whole.astype(float), repeats.step)
    levels = np.sort(x, axis=0)
    if len(x) > _LEVELS:
        # Of a value that repeats a level alone may be left, beside which it does not seem to.
        for j in np.flatnonzero(step == 0):
            _, counts = np.unique(x[:, j], return_counts=True)
            step[j] = np.inf if np.mean(counts > 1) > 0.5 else 0.0
        levels = levels[np.round(np.linspace(0, len(x) - 1, _LEVELS)).astype(int)]
    return Quantiles(
        np.ascontiguousarray(levels.T), location_and_scale(x).scale, step, repeats.origin
    )
