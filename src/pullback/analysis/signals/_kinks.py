"""Where an activation or its slope jumps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._reach import Reach, reach_of

_FARTHEST = 32.0
# Points at a time, so that one compiled program is enough.
_GRID = 4096


class Kinks(NamedTuple):
    """Kinks of an activation, whether its slope jumps at one, and how far means hold with them."""

    at: tuple[float, ...]
    are_sharp: bool
    reach: Reach


def find_kinks(activation: Callable[..., Any], given: Sequence[float] | np.ndarray | None) -> Kinks:
    """Where the slope of an activation, or the slope of that, jumps between -32 and 32.

    Every piece of a fine grid is cut in two, again and again, and the half with the greater jump
    kept. A jump that stays is a kink; across a smooth piece it goes away.

    Raises:
        ValueError: the activation itself jumps or has an infinite slope, or is not finite there.
    """
    # Whatever surrounds the call is not computed here.
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        slopes = jax.jit(jax.vmap(_with_slopes(activation)))
        at = lambda x: np.stack([np.asarray(each, np.float64) for each in slopes(jnp.asarray(x))])
        if given is None:
            left = np.linspace(-_FARTHEST, _FARTHEST, _GRID + 1)[:-1] + np.pi / 1e4
            right = left + 2 * _FARTHEST / _GRID
        else:
            centre = np.asarray(given, np.float64)
            left, right = centre - 1e-3, centre + 1e-3
        low, high = at(left), at(right)
        if not np.isfinite(low).all() or not np.isfinite(high).all():
            raise ValueError(
                "`activation` and its two derivatives must be finite between -32 and 32."
            )
        jumps = [_remaining(at, left, right, low, high, order) for order in range(3)]
        where = [tuple(np.unique(np.round(places, 10) + 0.0)) for places in jumps]
        if where[0]:
            raise ValueError(
                f"`activation` jumps at {where[0][0]:g}, or rises there like a root: its slope has "
                "no mean square, and chi is infinite. Give a continuous one of finite slope."
            )
        found = {*where[1], *where[2]} if given is None else set(map(float, given))
        kinks = tuple(sorted(map(float, found)))
        return Kinks(kinks, bool(where[1]), reach_of(lambda x: _in_grids(at, x), kinks))


def _in_grids(at: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    rows = np.pad(x, (0, -len(x) % _GRID)).reshape(-1, _GRID)
    return np.concatenate([at(row) for row in rows], axis=-1)[..., : len(x)]


def _with_slopes(activation: Callable[..., Any]) -> Callable[..., Any]:
    slope = jax.grad(activation)
    return lambda x: (activation(x), slope(x), jax.grad(slope)(x))


def _remaining(
    at: Callable[[np.ndarray], np.ndarray], left: Any, right: Any, low: Any, high: Any, order: int
) -> np.ndarray:
    """Where the derivative of this order jumps."""
    low, high = low[order], high[order]
    for _ in range(40):
        middle = (left + right) / 2
        value = at(middle)[order]
        is_left = np.abs(value - low) > np.abs(high - value)
        left, low = np.where(is_left, left, middle), np.where(is_left, low, value)
        right, high = np.where(is_left, middle, right), np.where(is_left, value, high)
    jump = np.abs(high - low) > 1e-5 * (1 + np.abs(low))
    return ((left + right) / 2)[jump]
