"""The steps of a solve on fixed times, and the blocks in which they are replayed."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int


class Grid(NamedTuple):
    """One row for each step. Times have the shape of one time, `[]` or `[batch]`."""

    t: Float[Array, "steps *batch"]
    dt: Float[Array, "steps *batch"]
    # The output that a step belongs to; the last step before an output writes it for good.
    slot: Int[Array, " steps"]
    ends: Bool[Array, " steps"]


def checked_times(ts: object, dtype: np.dtype, batch: tuple[int, ...]) -> Array:
    """The times as an array, sorted, `[T]` or one row for each of the state's leading axes."""
    ts = jnp.asarray(ts)
    ts = lax.stop_gradient(ts.astype(dtype))
    if ts.ndim == 0 or ts.shape[-1] < 2:
        raise ValueError(f"ts must have shape [T] with T at least 2, got {list(ts.shape)}")
    if ts.ndim > 1 and ts.shape[:-1] != batch[: ts.ndim - 1]:
        raise ValueError(
            f"ts of shape {list(ts.shape)} has a row for each path, so every array of y0 must "
            f"begin with {list(ts.shape[:-1])}; the common leading axes are {list(batch)}"
        )
    if not isinstance(ts, Tracer):
        gaps = np.diff(np.asarray(ts, float), axis=-1)
        # Rows of a batch are padded by repeating their last time; a step of no length is harmless.
        ordered = np.all(gaps > 0) if ts.ndim == 1 else np.all(gaps >= 0)
        if not (np.all(np.isfinite(ts)) and ordered):
            place = int(np.argmin(np.where(np.isnan(gaps), -np.inf, gaps)) % gaps.shape[-1])
            raise ValueError(
                "ts must be finite and strictly increasing (rows of a batch may repeat a time): "
                f"look at entries {place} and {place + 1} of {np.asarray(ts)}"
            )
    return ts


def grid_of(ts: Array, dt: float | None, steps: int | None) -> Grid:
    """Equal steps between two successive times: `steps` of them, or as many as `dt` needs."""
    if steps is not None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        counts = np.full(ts.shape[-1] - 1, steps)
    else:
        if dt is None or not dt > 0:
            raise ValueError(f"dt must be positive, got {dt}")
        if isinstance(ts, Tracer):
            raise ValueError(
                "dt=... counts the steps of each interval, so ts must be known when the program is "
                "compiled, and here it is traced: give steps=N, or make ts a NumPy array"
            )
        if ts.ndim != 1:
            raise ValueError("dt=... wants one row of times; with ts [batch, T] give steps=N")
        # A gap of a whole number of steps must not become one more by rounding.
        counts = np.maximum(1, np.ceil(np.diff(np.asarray(ts, float)) / dt - 1e-4)).astype(int)
    interval = np.repeat(np.arange(len(counts)), counts)
    within = np.concatenate([np.arange(n) for n in counts])
    left = jnp.moveaxis(ts, -1, 0)[interval]
    gap = jnp.moveaxis(ts, -1, 0)[interval + 1] - left
    per_step = lambda x: jnp.asarray(x.reshape(-1, *(1,) * (ts.ndim - 1)), ts.dtype)
    size = gap / per_step(counts[interval])
    return Grid(
        t=left + per_step(within) * size,
        dt=size,
        slot=jnp.asarray(interval + 1, jnp.int32),
        ends=jnp.asarray(within + 1 == counts[interval]),
    )


def padded(grid: Grid, length: int) -> Grid:
    """The grid with steps of no length after its end, which leave a state as it is."""
    extra = length - grid.t.shape[0]
    if extra == 0:
        return grid
    repeat = lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], extra, axis=0)])
    return Grid(
        t=repeat(grid.t),
        dt=jnp.concatenate([grid.dt, jnp.zeros((extra, *grid.dt.shape[1:]), grid.dt.dtype)]),
        slot=repeat(grid.slot),
        ends=jnp.concatenate([grid.ends, jnp.zeros(extra, bool)]),
    )


def blocks(steps: int, segment: int, checkpoints: int) -> tuple[int, ...]:
    """How `steps` steps are cut up: so many in a block, so many blocks in a larger one, and on.

    No entry but the first is over `checkpoints`, and the first is at most `segment`. The product is
    `steps` or somewhat more.
    """
    number = -(-steps // segment)
    cuts = [-(-steps // number)]
    while number > 1:
        cut = min(number, checkpoints) if checkpoints > 1 else number
        cuts.append(cut)
        number = -(-number // cut)
    return tuple(cuts)
