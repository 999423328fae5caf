"""Columns as people measure them, as a network takes them: of mean 0 and scale 1, without holes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from sklearn.covariance import ledoit_wolf

from pullback._location_scale import location_and_scale

from ._columns import skewed

_FAR = 1e6  # deviations from the mean that count


class Inputs(NamedTuple):
    r"""Columns of mean 0 and scale 1; a hole is filled by what the other columns make of it.

    $$ t = \frac{u - m}{s}, \qquad u_j = x_j \text{ or } \ln x_j, \qquad
       t_M = C_{MO} C_{OO}^{-1} t_O $$

    Attributes:
        log: columns that are positive and nearer to a normal distribution as logarithms.
        floor: of those the least value: what is below it counts as much.
        mean: m.
        scale: s.
        covariance: C of t, positive definite.
    """

    log: Bool[np.ndarray, " d"]
    floor: Float[np.ndarray, " d"]
    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]

    def to_line(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """t of rows, each the same to the bit whatever is beside it."""
        t = self._scaled(x)
        holes = np.isnan(t)
        for pattern in np.unique(holes[holes.any(axis=1)], axis=0):
            rows = np.flatnonzero((holes == pattern).all(axis=1))
            known = np.flatnonzero(~pattern)
            factors = np.linalg.solve(
                self.covariance[np.ix_(known, known)], self.covariance[np.ix_(known, pattern)]
            )
            filled = np.zeros((len(rows), int(pattern.sum())))
            for place, factor in zip(known, factors, strict=True):
                filled += t[rows, place][:, None] * factor
            t[np.ix_(rows, np.flatnonzero(pattern))] = filled
        return t

    def _scaled(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        floored = np.log(np.where(self.log, np.maximum(x, self.floor), 1.0))
        u = np.where(self.log, floored, x)
        return np.clip((u - self.mean) / self.scale, -_FAR, _FAR)


def fit_inputs(x: Float[np.ndarray, "n d"]) -> Inputs:
    """Those of rows, with holes or without; every column has two different numbers."""
    width = x.shape[1]
    log, floor = np.zeros(width, bool), np.ones(width)
    mean, scale = np.zeros(width), np.ones(width)
    for j, column in enumerate(x.T):
        whole = column[~np.isnan(column)]
        if len(np.unique(whole)) > 2 and skewed(whole):
            log[j], floor[j] = True, whole.min()
            whole = np.log(whole)
        mean[j], scale[j], _ = location_and_scale(whole)
    found = Inputs(log, floor, mean, scale, np.eye(width))
    # A hole at the mean says nothing of how columns hang together, which makes C too careful.
    t = np.nan_to_num(found._scaled(x))
    covariance, _ = ledoit_wolf(t, assume_centered=True)
    return found._replace(covariance=covariance + 1e-6 * np.eye(width))


def constant_columns(x: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " d"]:
    """Columns whose numbers, where there are any, are all the same."""
    high = np.max(np.where(np.isnan(x), -np.inf, x), axis=0)
    return ~(np.min(np.where(np.isnan(x), np.inf, x), axis=0) < high)


def describe_inputs(
    inputs: Inputs, names: Sequence[str], holes: Bool[np.ndarray, "n d"]
) -> list[str]:
    """What was done to the columns, in sentences."""
    told = []
    logs = [name for name, log in zip(names, inputs.log, strict=True) if log]
    if logs:
        told.append(f"Positive and skewed, so taken as logarithms: {', '.join(logs)}.")
    rows = int(holes.any(axis=1).sum())
    if rows:
        counts = holes.sum(axis=0)
        worst = [k for k in np.argsort(-counts)[:5] if counts[k]]
        where = ", ".join(f"{names[k]} in {counts[k]}" for k in worst)
        told.append(
            f"{rows} of {len(holes)} rows have holes ({where}), which were filled by what the "
            "other columns make of them; so are those of new rows."
        )
    return told
