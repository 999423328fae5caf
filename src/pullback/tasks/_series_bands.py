"""Bands that cover what they say: quantiles of errors on held-out series, by variable and reach."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ._series_asked import Asked, reach

_BINS, _EACH = 4, 60  # of reach, and the fewest errors in one
_KINDS = 3
# Shares of which the quantiles are kept; the last is the greatest error.
SHARES = np.concatenate([np.linspace(0, 0.9, 91)[:-1], np.linspace(0.9, 1, 101)])


class Bands(NamedTuple):
    """Quantiles of errors over foreseen deviations.

    Attributes:
        centres: of bins of reach, rising; the last one again where there are fewer bins.
        errors: quantiles at `SHARES`, for each variable, kind of reach, and bin; between the
            centres of two bins they change along a line.
        shares: of each kind the share to take for a level: errors of one series are alike, so a
            new series' values lie within those of others less often than values of the same ones.
    """

    centres: Float[np.ndarray, "v kind bin"]
    errors: Float[np.ndarray, "v kind bin share"]
    shares: Float[np.ndarray, "kind share"]

    def width(
        self,
        level: float | int,
        times: Float[np.ndarray, "s t"],
        shown: Bool[np.ndarray, "s t v"],
        deviation: Float[np.ndarray, "s t v"],
    ) -> Float[np.ndarray, "s t v"]:
        """Half the width of the band of a level."""
        kind, distance = reach(times, shown)
        share = np.asarray([np.interp(level, SHARES, own) for own in self.shares])
        found = np.zeros(kind.shape)
        for k, name in np.ndindex(self.errors.shape[:2]):
            wanted = [np.interp(share[name], SHARES, errors) for errors in self.errors[k, name]]
            at = kind[:, :, k] == name
            found[at, k] = np.interp(distance[at, k], self.centres[k, name], wanted)
        return found * deviation


class Errors(NamedTuple):
    """Errors over foreseen deviations, one a hidden value.

    Attributes:
        size: of the error.
        variable: of the value.
        kind: of its reach.
        distance: of its reach.
        series: which series it is of.
    """

    size: Float[np.ndarray, " n"]
    variable: Int[np.ndarray, " n"]
    kind: Int[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]
    series: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, asked: Asked, mean: np.ndarray, deviation: np.ndarray) -> "Errors":
        """Those of what was hidden."""
        at = np.nonzero(asked.hidden)
        kind, distance = reach(asked.known.times, asked.shown)
        size = np.abs(asked.known.values - mean)[at] / deviation[at]
        return cls(size, at[2], kind[at], distance[at], asked.series[at[0]])

    def take(self, which: np.ndarray) -> "Errors":
        return Errors(*(column[which] for column in self))

    def beside(self, other: "Errors") -> "Errors":
        """Both; the series of the other are others."""
        moved = other._replace(series=other.series + self.series.max(initial=-1) + 1)
        return Errors(*(np.concatenate(pair) for pair in zip(self, moved, strict=True)))


def fit_bands(errors: Errors, variables: int) -> Bands:
    """Bands of held-out errors; of few those of all variables, or of all kinds, are taken."""
    centres = np.zeros((variables, _KINDS, _BINS))
    table = np.empty((variables, _KINDS, _BINS, len(SHARES)))
    ranks: list[list[np.ndarray]] = [[] for _ in range(_KINDS)]
    for kind in range(_KINDS):
        alike = errors.take(errors.kind == kind)
        common = alike if len(alike.size) >= _EACH else errors
        for k in range(variables):
            own = alike.take(alike.variable == k)
            own = own if len(own.size) >= _EACH else common
            cuts = _cuts(own)
            place = np.sum(own.distance[:, None] > cuts, axis=1)
            for bin in range(_BINS):
                part = own.take(place == min(bin, len(cuts)))
                table[k, kind, bin] = np.quantile(part.size, SHARES)
                centres[k, kind, bin] = np.median(part.distance)
                if bin <= len(cuts):
                    ranks[kind].append(_ranks(part))
    whole = np.concatenate([rank for each in ranks for rank in each])
    shares = [
        np.quantile(np.concatenate(each) if len(np.concatenate(each)) >= _EACH else whole, SHARES)
        for each in ranks
    ]
    return Bands(centres, table, np.stack(shares))


def _cuts(errors: Errors) -> Float[np.ndarray, " c"]:
    """Reaches that cut errors into parts of as many, where there are enough of them."""
    bins = min(_BINS, max(1, len(errors.size) // _EACH))
    cuts = np.unique(np.quantile(errors.distance, np.arange(1, bins) / bins))
    return cuts[cuts < errors.distance.max()]


def _ranks(errors: Errors) -> Float[np.ndarray, " n"]:
    """Of each error the share of those of other series that are smaller."""
    order = np.sort(errors.size)
    found = np.empty(len(errors.size))
    for name in np.unique(errors.series):
        mine = errors.series == name
        own = np.sort(errors.size[mine])
        others = len(order) - len(own)
        if not others:
            found[mine] = 1.0
            continue
        below = np.searchsorted(order, errors.size[mine]) - np.searchsorted(own, errors.size[mine])
        found[mine] = np.minimum(below / max(others - 1, 1), 1.0)
    return found
