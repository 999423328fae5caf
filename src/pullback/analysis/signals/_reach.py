"""Up to which variance the means of an activation hold, by the same pieces with more nodes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.core import Tracer

from ._gaussian_means import NODES, PAIR_NODES, pieces_of, weighted_nodes
from ._maps import LARGEST

# What a mean may be off by, of its own size or of what a millionth of the Gaussian adds to it; and
# what the square of a slope is off by, by rounding, where it is none.
_TOLERANCE = 1e-4
_RARE = 1e-6
_ROUNDING = 1e-24
_VARIANCES = np.logspace(-12, 12, 97)


class Reach(NamedTuple):
    """The largest variance at which a mean holds; infinite where it does at all of them.

    Attributes:
        value: of the square of the activation.
        slope: of the square of its slope, too.
        bend: of the square of its second derivative, too.
        pair: of a product of two values.
        pair_slope: of a product of two slopes, too.
    """

    value: float
    slope: float
    bend: float
    pair: float
    pair_slope: float


def reach_of(slopes: Callable[[np.ndarray], np.ndarray], kinks: tuple[float, ...]) -> Reach:
    """How far the rules of an activation hold.

    Args:
        slopes: the activation and its first two derivatives, of a row of numbers.
        kinks: where pieces end, beside those of every activation.
    """
    spread = np.sqrt(_VARIANCES)[:, None]
    ends = pieces_of(spread, kinks)

    def means(count: int) -> tuple[np.ndarray, np.ndarray]:
        z, weights = weighted_nodes(ends, count)
        u = spread * z
        squares = np.square(slopes(u.ravel())).reshape(3, *u.shape)
        squares = np.where(weights > 0, squares, 0)
        return np.sum(weights * squares, axis=-1), np.max(squares, axis=-1)

    with np.errstate(all="ignore"):  # what overflows is infinite for both
        fine, most = means(2 * NODES)
        slack = _TOLERANCE * (fine + _RARE * most) + _ROUNDING
        off = lambda count: np.abs(means(count)[0] - fine) > slack
        one, two = off(NODES), off(PAIR_NODES)
    upto = lambda fails, orders: _before(fails[:orders].any(axis=0))
    return Reach(upto(one, 1), upto(one, 2), upto(one, 3), upto(two, 1), upto(two, 2))


def check_reach(theory: Any, q: Any, of: str) -> None:
    """Refuses variances at which means of this kind, a field of `Reach`, do not hold."""
    reach = getattr(theory.reach, of)
    if reach == np.inf or isinstance(q, Tracer):
        return
    most = float(np.max(np.minimum(q, LARGEST), initial=0.0))
    if most > reach:
        raise ValueError(
            f"`activation` waves or bends too quickly for a variance of {most:.3g}: means over it "
            f"hold up to {reach:.3g}. Take smaller scales, or give as `kinks` places within some "
            "standard deviations between which it is smooth, such as np.linspace(-50, 50, 101)."
        )


def _before(fails: Any) -> float:
    """The last variance before the first that fails."""
    if not fails.any():
        return float("inf")
    first = int(np.argmax(fails))
    return float(_VARIANCES[first - 1]) if first else 0.0
