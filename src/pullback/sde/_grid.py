"""The steps of a solve on fixed times, and the blocks in which they are replayed."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float, Int

from pullback._clock import Times, times_of


class Grid(NamedTuple):
    """One row for each step. Times, since the first, have the shape of one, `[]` or `[batch]`."""

    t: Float[Array, "steps *batch"]
    dt: Float[Array, "steps *batch"]
    # The output that a step belongs to; the last step before an output writes it for good.
    slot: Int[Array, " steps"]
    ends: Bool[Array, " steps"]


def checked_times(ts: Any, dtype: Any, batch: tuple[int, ...], *, narrow: bool) -> Times:
    """The times, `[T]` or one row for each of the state's leading axes, all in one direction."""
    times = times_of(ts, dtype, narrow=narrow)
    shape = times.since.shape
    if len(shape) > 1 and shape[:-1] != batch[: len(shape) - 1]:
        raise ValueError(
            f"ts of shape {list(shape)} has a row for each path, so every array of y0 must "
            f"begin with {list(shape[:-1])}; the common leading axes are {list(batch)}"
        )
    if times.known is not None:
        gaps = np.diff(times.known, axis=-1)
        if np.any(gaps < 0) and np.any(gaps > 0):
            # The fewer ones are those that are out of order.
            wrong = gaps < 0 if np.sum(gaps < 0) <= np.sum(gaps > 0) else gaps > 0
            place = int(np.argmax(wrong) % gaps.shape[-1])
            raise ValueError(
                "ts must be all increasing or all decreasing (a time may be repeated), every row "
                f"in the same direction: look at entries {place} and {place + 1} of {times.given}"
            )
    return times._replace(since=lax.stop_gradient(_not_differentiated(times.since)))


def runs_backward(times: Times) -> bool | Bool[Array, ""]:
    """Whether the times decrease: known where they are."""
    if times.known is not None:
        return bool(np.any(times.known[..., -1] < 0))
    return jnp.any(times.since[..., -1] < 0)


@jax.custom_jvp
def _not_differentiated(ts: Array) -> Array:
    return ts


@partial(_not_differentiated.defjvp, symbolic_zeros=True)
def _refuse(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    if not isinstance(tangents[0], SymbolicZero):
        raise ValueError(
            "sde.solve has no gradient with respect to ts, for a Brownian path has no derivative "
            "in time: give lax.stop_gradient(ts), or put what is learned into args"
        )
    return primals[0], jnp.zeros_like(primals[0])


def grid_of(times: Times, dt: float | None, steps: int | None) -> Grid:
    """Equal steps between two successive times: `steps` of them, or as many as `dt` needs."""
    ts, known = times.since, times.known
    if steps is not None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        counts = np.full(ts.shape[-1] - 1, steps)
    else:
        if dt is None or not dt > 0:
            raise ValueError(f"dt must be positive, got {dt}")
        if known is None:
            raise ValueError(
                "dt=... counts the steps of each interval, so ts must be known when the program is "
                "compiled, and here it is traced: give steps=N, or make ts a NumPy array"
            )
        if ts.ndim != 1:
            raise ValueError("dt=... wants one row of times; with ts [batch, T] give steps=N")
        # A gap of a whole number of steps must not become one more by rounding.
        counts = np.maximum(1, np.ceil(np.abs(np.diff(known)) / dt - 1e-4))
        if np.sum(counts) > np.iinfo(np.int32).max:
            raise ValueError(f"dt={dt} makes {np.sum(counts):.3g} steps: give a longer one")
        counts = counts.astype(int)
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
