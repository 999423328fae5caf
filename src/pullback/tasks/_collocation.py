"""Fields by regression of slopes, and paths of them on the host: where training starts from."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int

from pullback._on_device import on_device

from ._field import Frame, Known, degrees, features, known_rate, orders_of
from ._padded import CHUNK, chunks
from ._pieces import Pieces
from ._shooting import Windows
from ._smooth import Smooth

_RIDGES = (1e-7, 1e-2)
_FOLDS = 3
_FAR = 1e3  # scales beyond which a path has run away
_MANY = 3000  # times beyond which slopes are good enough without
NAMES = ("constant", "linear", "quadratic", "cubic")

Rate = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Slopes(NamedTuple):
    """Where a trajectory was, how fast it went, and where it was next, in the frame's units.

    Attributes:
        ts: the user's times.
        zs: states.
        rates: slopes, less what is known of them.
        gaps: to the next time; 0 of the last.
        window: to which a point belongs.
    """

    ts: Float[np.ndarray, " n"]
    zs: Float[np.ndarray, "n d"]
    rates: Float[np.ndarray, "n d"]
    gaps: Float[np.ndarray, " n"]
    window: Int[np.ndarray, " n"]


def slopes_of(parts: list[Smooth], frame: Frame, known: Known | None, piece: int) -> Slopes:
    """The slopes of smooth paths, cut into the windows that training has."""
    ts = np.concatenate([part.path.ts for part in parts])
    ys = np.concatenate([part.ys for part in parts])
    slopes = np.concatenate([part.slopes for part in parts])
    gaps = np.concatenate([np.append(np.diff(part.path.ts), 0) for part in parts])
    window, count = [], 0
    for part in parts:
        last = max(len(part.path.ts) - 2, 0)
        window.append(count + np.minimum(np.arange(len(part.path.ts)), last) // piece)
        count = window[-1][-1] + 1
    rates = slopes - known_at(known, ts, ys) if known is not None else slopes
    unit = frame.time / frame.scale
    return Slopes(ts, frame.to(ys), rates * unit, gaps / frame.time, np.concatenate(window))


@eqx.filter_jit
def _known_at(known: Known, ts: jax.Array, ys: jax.Array) -> jax.Array:
    return jax.vmap(lambda t, y: known_rate(known, t, y))(ts, ys)


def known_at(
    known: Known, ts: Float[np.ndarray, " n"], ys: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n d"]:
    """The known part of a field at times and states, in the user's units."""
    found = np.empty_like(ys)
    for start, stop in chunks(len(ts)):
        places = np.minimum(np.arange(start, start + CHUNK), len(ts) - 1)
        arrays = (on_device(a[places].astype(np.float32)) for a in (ts, ys))
        found[start:stop] = np.asarray(_known_at(known, *arrays))[: stop - start]
    return found


def regress(
    slopes: Slopes,
    frame: Frame,
    order: int,
    ridge: float,
    weights: Float[np.ndarray, " w"],
    known: Known | None,
    *,
    rounds: int = 0,
) -> Float[np.ndarray, "terms d"]:
    """Coefficients of a polynomial of a degree by weighted ridge regression of the slopes.

    Args:
        slopes: of the smooth paths.
        frame: units.
        order: the degree.
        ridge: the penalty, in shares of the terms' squares.
        weights: of the windows.
        known: the part of the field that is known.
        rounds: corrections by what is left of each interval when it is solved from its start: a
            spline's slopes are off by more.
    """
    highest = orders_of(slopes.zs.shape[1])
    taken = degrees(slopes.zs.shape[1], highest) <= order
    weight = weights[slopes.window]
    found = np.zeros((len(taken), slopes.zs.shape[1]))

    def solve(phi: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        penalty = ridge * (weight @ phi**2)
        # The constant is no more penalised than a mean is.
        penalty[(phi == 1).all(axis=0)] *= 1e-6
        gram = (phi.T * weight) @ phi + np.diag(penalty + 1e-12 * weight.sum())
        return np.linalg.lstsq(gram, (phi.T * weight) @ target, rcond=None)[0]

    phi = features(slopes.zs, frame, order)
    found[taken] = solve(phi, slopes.rates, weight)
    at = np.flatnonzero(slopes.gaps > 0)
    for _ in range(rounds):
        ts, zs, gaps = slopes.ts[at], slopes.zs[at], slopes.gaps[at]
        since = np.stack([np.zeros_like(gaps), gaps / 2, gaps], axis=1)
        path = march(rate_of(found, frame, known, order), ts, zs, since, frame)
        left = (slopes.zs[at + 1] - path[:, 2]) / gaps[:, None]
        ends = [features(path[:, k], frame, order) for k in range(3)]
        mean = (ends[0] + 4 * ends[1] + ends[2]) / 6
        # Weighted by their gaps: all states are as exact, and slopes over short gaps are not.
        found[taken] = solve(mean, left + mean @ found[taken], weight[at] * gaps**2)
    return found


def rate_of(
    coefficients: Float[np.ndarray, "terms d"], frame: Frame, known: Known | None, order: int
) -> Rate:
    """A polynomial field of a degree on the host, in the frame's units."""
    dim = coefficients.shape[1]
    taken = coefficients[degrees(dim, orders_of(dim)) <= order]

    def rate(ts: np.ndarray, zs: np.ndarray) -> np.ndarray:
        found = features(zs, frame, order) @ taken
        if known is not None:
            found = found + known_at(known, ts, frame.back(zs)) * frame.time / frame.scale
        return found

    return rate


def march(
    rate: Rate,
    first: Float[np.ndarray, " n"],
    zs: Float[np.ndarray, "n d"],
    since: Float[np.ndarray, "n t"],
    frame: Frame,
) -> Float[np.ndarray, "n t d"]:
    """Paths by the classical method of Runge and Kutta, in steps of at most a third of a unit."""
    found = [zs]
    for k in range(1, since.shape[1]):
        gaps = since[:, k] - since[:, k - 1]
        steps = int(np.clip(np.ceil(np.abs(gaps).max() * 3), 1, 40))
        h = gaps / steps
        for number in range(steps):
            t = first + (since[:, k - 1] + number * h) * frame.time
            half, full, dz = t + h / 2 * frame.time, t + h * frame.time, h[:, None]
            a = rate(t, zs)
            b = rate(half, _near(zs + dz / 2 * a))
            c = rate(half, _near(zs + dz / 2 * b))
            d = rate(full, _near(zs + dz * c))
            zs = _near(zs + dz / 6 * (a + 2 * b + 2 * c + d))
        found.append(zs)
    return np.stack(found, axis=1)


def _near(zs: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return np.clip(zs, -_FAR, _FAR)


class Start(NamedTuple):
    """The regression that forecasts best.

    Attributes:
        order: the degree of its polynomial.
        ridge: its penalty.
        rounds: of correction.
        error: the sum of the mean squared errors of its forecasts, in scales.
    """

    order: int
    ridge: float
    rounds: int
    error: float


def best_start(
    slopes: Slopes,
    frame: Frame,
    known: Known | None,
    shots: Windows,
    choose: Pieces,
    orders: Sequence[int],
) -> Start:
    """Of the degrees and penalties those whose forecasts are the best.

    Each third of the windows is forecast by a regression of the others, and pieces held out by one
    of all. A higher degree must be better by a twentieth.
    """
    count = len(shots.first)
    fold = np.arange(count) % min(_FOLDS, count)
    dim = slopes.zs.shape[1]
    degree = degrees(dim, orders_of(dim))
    best = Start(0, _RIDGES[0], 0, np.inf)

    def tried(order: int, ridge: float, rounds: int) -> Start:
        fitted = lambda weights: regress(slopes, frame, order, ridge, weights, known, rounds=rounds)
        apart = np.zeros(count)
        for number in range(fold.max() + 1 if count > 1 else 0):
            here = fold == number
            rate = rate_of(fitted((~here).astype(float)), frame, known, order)
            first = shots.first[here].astype(np.float64)
            found = march(rate, first, shots.start[here], shots.since[here], frame)
            square = shots.weight[here] * (found - shots.ys[here]) ** 2
            seen = np.maximum(shots.weight[here].sum(axis=(1, 2)), 1)
            apart[here] = square.sum(axis=(1, 2)) / seen
        path = forecast(fitted(np.ones(count)), frame, known, choose, order)
        ahead = choose.errors(path, frame.scale)
        return Start(order, ridge, rounds, float(apart.mean() + ahead.mean()))

    rounds = (0, 4, 16) if len(slopes.ts) < _MANY else (0, 0, 0)
    for order in orders:
        if order > 0 and (degree <= order).sum() > len(slopes.zs) // 2:
            continue
        found = tried(order, _RIDGES[0], rounds[1] if order > 0 else 0)
        if found.error < 0.95 * best.error:
            best = found
    order = best.order
    others = [(order, _RIDGES[0], rounds[0]), (order, _RIDGES[0], rounds[2])]
    others += [(order, _RIDGES[1], rounds[1])] * (order > 1)
    for other in others if order > 0 else ():
        found = tried(*other)
        best = min(best, found, key=lambda each: each.error)
    return best


def forecast(
    coefficients: Float[np.ndarray, "terms d"],
    frame: Frame,
    known: Known | None,
    pieces: Pieces,
    order: int,
) -> Float[np.ndarray, "p t d"]:
    """Paths of a polynomial field from the starts of pieces, in the user's units."""
    since = (pieces.ts - pieces.ts[:, :1]) / frame.time
    rate = rate_of(coefficients, frame, known, order)
    return frame.back(march(rate, pieces.ts[:, 0], frame.to(pieces.starts), since, frame))
