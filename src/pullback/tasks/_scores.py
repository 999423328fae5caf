"""Columns of any distribution as normal scores, and back."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicHermiteSpline
from scipy.special import ndtr, ndtri

_KNOTS, _ROWS_EACH = 33, 8
_HALVINGS = 60


class Scores(NamedTuple):
    r"""A smooth rising map of each column, through knots, and beyond them a logarithm.

    $$ t(s) = b_K + c\,h \ln\Big(1 + \frac{s - a_K}{h}\Big), \qquad s > a_K $$

    and alike below, where c is the slope at the last knot and h the distance from it to the middle
    one: what is normal in t has tails in s as heavy as those of a log-normal distribution.

    Attributes:
        knots: a of each column, rising; NaN beyond the last.
        values: b.
    """

    knots: Float[np.ndarray, "d k"]
    values: Float[np.ndarray, "d k"]

    def to_line(
        self, s: Float[np.ndarray, " n"], place: int
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """t of one column, and the logarithm of its slope."""
        a, _, curve, (low, high) = self._curve(place)
        inside = np.clip(s, a[0], a[-1])
        t, slope = curve(inside), curve(inside, 1)
        below, above = np.maximum(a[0] - s, 0) / low.reach, np.maximum(s - a[-1], 0) / high.reach
        t = t - low.slope * low.reach * np.log1p(below) + high.slope * high.reach * np.log1p(above)
        return t, np.log(slope) - np.log1p(below) - np.log1p(above)

    def from_line(self, t: Float[np.ndarray, " n"], place: int) -> Float[np.ndarray, " n"]:
        """s of one column."""
        a, b, curve, (low, high) = self._curve(place)
        left, right = np.full(len(t), a[0]), np.full(len(t), a[-1])
        for _ in range(_HALVINGS):
            middle = (left + right) / 2
            less = curve(middle) < t
            left, right = np.where(less, middle, left), np.where(less, right, middle)
        below = np.expm1(np.maximum(b[0] - t, 0) / (low.slope * low.reach))
        above = np.expm1(np.maximum(t - b[-1], 0) / (high.slope * high.reach))
        return (left + right) / 2 - low.reach * below + high.reach * above

    def _curve(self, place: int) -> tuple:
        known = ~np.isnan(self.knots[place])
        a, b = self.knots[place][known], self.values[place][known]
        slopes = np.diff(b) / np.diff(a)
        # The harmonic mean of both sides keeps a cubic rising; so does an end as steep as its side.
        inner = 2 / (1 / slopes[:-1] + 1 / slopes[1:])
        curve = CubicHermiteSpline(a, b, np.concatenate([slopes[:1], inner, slopes[-1:]]))
        middle = a[len(a) // 2]
        ends = _End(slopes[0], middle - a[0]), _End(slopes[-1], a[-1] - middle)
        return a, b, curve, ends


class _End(NamedTuple):
    slope: float
    reach: float


def fit_scores(s: Float[np.ndarray, "n d"]) -> Scores:
    """The map of standardised columns, through their quantiles."""
    knots, values = np.full((2, s.shape[1], _KNOTS), np.nan)
    count = min(_KNOTS, max(3, len(s) // _ROWS_EACH)) | 1
    outermost = min(5 / len(s), 0.25)
    levels = ndtr(np.linspace(ndtri(outermost), -ndtri(outermost), count))
    for j, column in enumerate(s.T):
        a, first = np.unique(np.quantile(column, levels), return_index=True)
        if len(a) < 3:
            a, b = np.asarray([-1.0, 0.0, 1.0]), np.asarray([-1.0, 0.0, 1.0])
        else:
            b = ndtri(levels[first])
        knots[j, : len(a)], values[j, : len(b)] = a, b
    return Scores(knots, values)
