"""The path of a series, between its observations, as a quadratic velocity on each piece."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Interpolation = Literal["hermite", "linear"]


class ControlPath(NamedTuple):
    r"""The path $X = (t, x, c)$ of one series: at its times, and its velocity on the way.

    Attributes:
        start: at the first time, `[channel]`.
        velocity: of the piece from one time to the next, which is run through in a unit of time:
            the coefficients of 1, s and s^2, `[time - 1, channel]` each.
    """

    start: Float[Array, " channel"]
    velocity: tuple[Float[Array, "piece channel"], ...]


# Diffrax's coefficients refuse repeated times, with which rows are padded, and put a callback into
# the program, which JAX's cache of programs does not keep. The pieces are the same.
def control_path(
    times: Float[Array, " time"],
    values: Float[Array, "time variables"],
    mask: Bool[Array, "time variables"],
    interpolation: Interpolation,
) -> ControlPath:
    """The path through the observations of each variable, beside the time and the counts.

    A variable stands still before its first value and after its last. Where a time comes again, the
    path moves to what was observed at the second while the time stands still.
    """
    dtype = values.dtype
    since = (times - times[0]).astype(dtype)
    counts = jnp.cumsum(mask, axis=0).astype(dtype)
    whole = jnp.ones((len(times), 1), bool)
    xs = jnp.concatenate([since[:, None], jnp.where(mask, values, 0), counts], axis=1)
    seen = jnp.concatenate([whole, mask, jnp.broadcast_to(whole, mask.shape)], axis=1)
    start, velocity = jax.vmap(
        lambda x, m: _channel(since, x, m, interpolation), in_axes=1, out_axes=(0, 1)
    )(xs, seen)
    return ControlPath(start, velocity)


def _channel(
    ts: Array, x: Array, mask: Array, interpolation: Interpolation
) -> tuple[Array, tuple[Array, Array, Array]]:
    """Of one channel, the first value and the velocity of each piece."""
    place = jnp.arange(len(ts))
    last = jax.lax.cummax(jnp.where(mask, place, -1))
    following = jax.lax.cummin(jnp.where(mask, place, len(ts)), reverse=True)
    # Of the piece from i to i + 1: the observations about it; outside of all it stands still.
    left, right = last[:-1], following[1:]
    within = (left >= 0) & (right < len(ts))
    left, right = jnp.where(within, left, 0), jnp.where(within, right, 0)
    rise, span = x[right] - x[left], ts[right] - ts[left]
    offset, gap = ts[:-1] - ts[left], jnp.diff(ts)
    repeated = span <= 0
    safe = jnp.where(repeated, 1, span)
    # Two values at one time: all of the way lies in the piece that ends at the second.
    width = jnp.where(repeated, (place[1:] == right).astype(x.dtype), gap / safe)
    begun = jnp.where(repeated, 0, offset / safe)
    slope = rise
    if interpolation == "hermite":
        before = jnp.where(left > 0, last[jnp.maximum(left - 1, 0)], -1)
        back = ts[left] - ts[before]
        known = (before >= 0) & (back > 0)
        backward = (x[left] - x[before]) / jnp.where(known, back, 1) * span
        slope = jnp.where(before < 0, rise, jnp.where(known, backward, 0))
    bend = rise - slope
    inside = lambda a: jnp.where(within, a, 0)
    first = jnp.argmax(mask)
    return x[first], (
        inside(width * (slope + bend * begun * (4 - 3 * begun))),
        inside(width**2 * bend * (4 - 6 * begun)),
        inside(-3 * width**3 * bend),
    )
