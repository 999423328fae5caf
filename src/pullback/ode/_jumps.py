"""Times at which a field may jump: where pieces of a solve end, and which side a step sees.

The times asked for and the jumps become one increasing row, at all of which there is a value, so
that an adjoint has one kind of time to look at; `Method.knots` says which of them steps end at.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from pullback._clock import Clock, between
from pullback._lanes import State, rows_at, select, time_at

from ._method import Method
from ._runge_kutta import Field


class Jumps(NamedTuple):
    """Times at which a field may jump, in any order.

    Attributes:
        since: the first time of the solve, `[jumps]` or `[lanes, jumps]`.
        times: themselves, as the field sees them.
    """

    since: Array
    times: Array


class Merged(NamedTuple):
    """The times of a solve and the jumps between its ends, as one row.

    Attributes:
        ts: all of them, in the order of the solve; those that do not count are at the end.
        rows: the place of each time asked for.
        knots: the places at which steps end: the first, the jumps, the last.
        clock: that keeps the sides of a jump apart.
    """

    ts: Float[Array, "*lanes all"]
    rows: Int[Array, "*lanes times"]
    knots: Int[Array, "*lanes edges"]
    clock: Clock


def ordered(
    ts: Array, jumps: Jumps, clock: Clock
) -> tuple[Array, Bool[Array, "*lanes jumps"], Clock]:
    """The jumps between the ends in the order of the solve, then the others.

    Also returns which of them count, each time once, and the clock that keeps their sides apart.
    """
    still = lax.stop_gradient
    lanes = ts.shape[:-1]
    since, times = (jnp.broadcast_to(x, lanes + x.shape[-1:]) for x in jumps)
    first, last = still(ts[..., :1]), still(ts[..., -1:])
    sign = jnp.where(last < first, -1, 1).astype(ts.dtype)
    along = lambda x, order: jnp.take_along_axis(x, order, axis=-1)
    order = jnp.lexsort((sign.astype(times.dtype) * times, sign * still(since)), axis=-1)
    since, times = along(since, order), along(times, order)
    here = still(since)
    inside = (sign * here > sign * first) & (sign * here < sign * last)
    order = jnp.argsort(~inside, axis=-1, stable=True)
    since, times, inside = along(since, order), along(times, order), along(inside, order)
    here, end = still(since), clock.last[..., None].astype(times.dtype)
    # Of jumps that are one, here, the clock knows the first and the last: what is between is lost.
    pieces = clock.in_pieces(jnp.where(inside, here, last), jnp.where(inside, times, end))
    again = here[..., 1:] == here[..., :-1]
    counts = inside & ~jnp.concatenate([jnp.zeros_like(again, shape=(*lanes, 1)), again], axis=-1)
    return since, counts, pieces


def merge(ts: Float[Array, "*lanes times"], jumps: Jumps, clock: Clock) -> Merged:
    """One row of the times and the jumps, differentiable in both."""
    since, counts, clock = ordered(ts, jumps, clock)
    times, count = ts.shape[-1], since.shape[-1]
    last = ts[..., -1:]
    values = jnp.concatenate([ts, jnp.where(counts, since, last)], axis=-1)
    sign = jnp.where(last < ts[..., :1], -1, 1).astype(ts.dtype)
    # Of a time asked for that is a jump, the value is that before it.
    order = jnp.argsort(lax.stop_gradient(sign * values), axis=-1, stable=True)
    places = jnp.argsort(order, axis=-1)
    merged = jnp.take_along_axis(values, order, axis=-1)
    # Sorted they would be in order, whatever they were.
    right = jnp.all(jnp.diff(sign * ts, axis=-1) >= 0, axis=-1, keepdims=True)
    merged = jnp.where(right & jnp.all(jnp.isfinite(ts), axis=-1, keepdims=True), merged, jnp.nan)
    end = jnp.full_like(places[..., :1], times + count - 1)
    jumped = jnp.sort(jnp.where(counts, places[..., times:], end), axis=-1)
    knots = jnp.concatenate([jnp.zeros_like(end), jumped, end], axis=-1)
    return Merged(merged, places[..., :times], knots, clock)


def picked(ys: PyTree[Array], rows: Int[Array, "*lanes times"]) -> PyTree[Array]:
    """The rows of `ys`, whose leading axis is time, at those places."""
    return jax.vmap(lambda i: rows_at(ys, i), in_axes=-1)(rows)


def edges(method: Method, ts: Array) -> Float[Array, "*lanes edges"]:
    """Where pieces end, in order."""
    if method.knots is None:
        raise ValueError("a solve in one piece has no edges")
    return jnp.take_along_axis(ts, method.knots, axis=-1)


def piece(method: Method, ts: Array, t: Array, slot: Array) -> tuple[Array, Array]:
    """The two times that place step number `slot`, which starts at `t`."""
    if method.steps is not None:
        interval = slot // method.steps
        left, right = (
            lax.dynamic_index_in_dim(ts, interval + i, -1, keepdims=False) for i in (0, 1)
        )
        return left, right
    if method.knots is None:
        return ts[..., 0], ts[..., -1]
    row, still = edges(method, ts), lax.stop_gradient
    sign = jnp.where(ts[..., -1] < ts[..., 0], -1, 1).astype(ts.dtype)[..., None]
    number = jnp.sum(sign * still(row)[..., 1:-1] <= sign * still(t)[..., None], axis=-1)
    return time_at(row, number), time_at(row, number + 1)


def sided(method: Method, field: Field, ts: Array, left: Array, right: Array) -> Field:
    """The field as a step between `left` and `right` sees it."""
    if method.knots is None:
        return field
    forward = ts[..., -1] >= ts[..., 0]
    return lambda t, y, params: field(between(t, left, right, forward), y, params)


def landed(method: Method, ts: Array, t: Array) -> Bool[Array, "*lanes"]:
    """Whether `t` is a jump between the ends."""
    return jnp.any(edges(method, ts)[..., 1:-1] == t[..., None], axis=-1) & (t != ts[..., -1])


def passed(method: Method, ts: Array, t: Array) -> Int[Array, "*lanes"]:
    """How many jumps lie up to `t`."""
    row, end = edges(method, ts)[..., 1:-1], ts[..., -1:]
    sign = jnp.where(end < ts[..., :1], -1, 1).astype(ts.dtype)
    before = (sign * row <= sign * t[..., None]) & (sign * row < sign * end)
    return jnp.sum(before, axis=-1).astype(jnp.int32)


def restarted(
    method: Method,
    field: Field,
    ts: Array,
    jumped: Bool[Array, "*lanes"],
    y: State,
    k1: State,
    params: PyTree,
    at: tuple[Array, Array],
) -> State:
    """The first stage `k1` of the next step, found anew by the lanes that are at a jump."""
    t, slot = at

    def again(carry: tuple[Array, State]) -> tuple[Array, State]:
        todo, k1 = carry
        near = sided(method, field, ts, *piece(method, ts, t, slot))
        return jnp.zeros_like(todo), select(todo, near(t, y, params), k1)

    # A condition would be a selection under vmap, and both sides of it be computed at every step.
    return lax.while_loop(lambda c: jnp.any(c[0]), again, (jumped, k1))[1]
