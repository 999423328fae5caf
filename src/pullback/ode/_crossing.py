"""To find the step in which an event happens, and the time within it."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from pullback._lanes import State, select

from ._event import Watched
from ._jumps import piece, sided
from ._loop import Carry, _attempt, _start
from ._method import Method
from ._problem import Problem
from ._result import RUNNING, Result
from ._runge_kutta import Field, OnClock, interpolation, stages


class Crossing(NamedTuple):
    """Where each lane is to stop, counted from the first time; `within` is that step's size."""

    happened: Array
    which: Array
    t: Array
    within: Array
    code: Array
    nfe: Array


class _Step(NamedTuple):
    """The step in which a lane stops, and the two times that placed it."""

    t: Array
    h: Array
    y: State
    left: Array
    right: Array


class _Seen(NamedTuple):
    """What is known of each event: the side of zero it was on last, and how often it has yet to
    cross; whether a lane stops for it, and the side from which it came there."""

    side: Array
    left: Array
    fired: Array
    came: Array
    step: _Step


def crossing(problem: Problem, events: tuple[Watched, ...]) -> Crossing:
    """The first event of each lane. It is not differentiated."""
    arrays, rest = eqx.partition((problem.with_jumps(), events), eqx.is_array)
    problem, events = eqx.combine(lax.stop_gradient(arrays), rest)
    method, ts, params, y0 = problem.method, problem.ts, problem.field.params, problem.y0
    if method is None:
        raise ValueError("an event is looked for in pullback's own loop")
    field = OnClock(problem.field.over_lanes(problem.per_sample), problem.clock)

    def values(t: Array, y: State) -> Array:
        t = problem.clock.time(t)
        each = jax.vmap if problem.per_sample else lambda root: root
        return jnp.stack([each(event)(t, y) for event in events])

    c = _start(method, field, y0, ts, params, None)
    lanes = c.t.shape
    counts = jnp.asarray([event.count for event in events], jnp.int32)
    zeros = jnp.zeros((len(events), *lanes), jnp.int32)
    side, finite = _first_side(method, field, values, c, ts, params)
    c = c._replace(code=jnp.where((c.code == RUNNING) & ~finite, Result.NON_FINITE, c.code))
    none = jnp.zeros_like(c.t)
    seen = _Seen(
        side=side,
        left=zeros + jnp.reshape(counts, (-1,) + (1,) * len(lanes)),
        fired=zeros > 0,
        came=zeros,
        step=_Step(c.t, none, c.y, ts[..., 0], ts[..., -1]),
    )

    def step(carry: tuple[Carry, _Seen]) -> tuple[Carry, _Seen]:
        c, seen = carry
        new = _attempt(method, field, ts, params, None, c)
        return _watch(new, seen, events, values(new.t, new.y), c, piece(method, ts, c.t, c.slot))

    c, seen = lax.while_loop(lambda carry: jnp.any(carry[0].code == RUNNING), step, (c, seen))
    attempts = c.accepted + c.rejected
    nfe = (2 if method.steps is None else int(method.tableau.fsal)) + (
        method.tableau.evaluations * attempts
    )
    happened = jnp.any(seen.fired, axis=0)
    t, which = _within(method, field, values, ts, params, seen)
    return Crossing(
        happened=happened,
        which=jnp.where(happened, which, -1),
        t=jnp.where(happened, t, ts[..., -1]),
        within=jnp.abs(seen.step.h),
        code=c.code,
        nfe=nfe,
    )


def _first_side(
    method: Method, field: Field, values: Callable, c: Carry, ts: Array, params: PyTree
) -> tuple[Array, Array]:
    """On which side of zero each event begins, and whether all of a lane's are finite.

    One that is at zero, to rounding, is on the side to which it goes.
    """
    slope = field(c.t, c.y, params)
    g, rate = jax.jvp(values, (c.t, c.y), (jnp.ones_like(c.t), slope))
    eps = float(jnp.finfo(jax.tree.leaves(c.y)[0].dtype).eps)
    span = (ts[..., -1] - ts[..., 0]).astype(g.dtype)[None]
    there = jnp.abs(g) <= 64 * eps * jnp.abs(span * rate)
    side = jnp.where(there, jnp.sign(rate) * jnp.sign(span), jnp.sign(g))
    return jnp.nan_to_num(side).astype(jnp.int32), jnp.all(jnp.isfinite(g), axis=0)


def _watch(
    new: Carry,
    seen: _Seen,
    events: tuple[Watched, ...],
    g: Array,
    old: Carry,
    placed: tuple[Array, Array],
) -> tuple[Carry, _Seen]:
    """Stop the lanes in whose step an event happened as often as was asked."""
    moved = new.accepted > old.accepted
    sign = jnp.nan_to_num(jnp.sign(g)).astype(jnp.int32)
    finite = jnp.all(jnp.isfinite(g), axis=0)
    crossed = (moved & finite)[None] & (seen.side != 0) & (sign != seen.side)
    wanted = jnp.asarray([{"up": -1, "down": 1, "any": 0}[e.direction] for e in events], jnp.int32)
    wanted = jnp.reshape(wanted, (-1,) + (1,) * moved.ndim)
    counted = crossed & ((wanted == 0) | (seen.side == wanted))
    left = seen.left - counted.astype(jnp.int32)
    fired = counted & (left == 0)
    stops = jnp.any(fired, axis=0)
    # At zero itself it has crossed.
    side = jnp.where(moved[None], jnp.where(crossed, -seen.side, sign), seen.side)
    code = jnp.where(moved & ~finite, Result.NON_FINITE, new.code)
    code = jnp.where(stops, Result.SUCCESSFUL, code).astype(jnp.int32)
    here = _Step(old.t, new.t - old.t, old.y, *placed)
    choose = lambda a, b: jnp.where(stops, a, b)
    step = _Step(
        choose(here.t, seen.step.t),
        choose(here.h, seen.step.h),
        select(stops, here.y, seen.step.y),
        choose(here.left, seen.step.left),
        choose(here.right, seen.step.right),
    )
    came = jnp.where(stops[None], seen.side, seen.came)
    return new._replace(code=code), _Seen(side, left, seen.fired | fired, came, step)


def _within(
    method: Method, field: Field, values: Callable, ts: Array, params: PyTree, seen: _Seen
) -> tuple[Array, Array]:
    """The time of the earliest event in the step where each lane stops, and its number.

    By bisection of the step's interpolation, as often as halves a step to its rounding.
    """
    t, h, y, *placed = seen.step
    field = sided(method, field, ts, *placed)
    ks, y1 = stages(method.tableau, field, t, h, y, field(t, y, params), params)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2

        def g(number: Array, at: Array) -> Array:
            # Lanes that stop for none have a step of size zero, which has no interpolation.
            inside = interpolation(method.tableau, t, jnp.where(h == 0, 1, h), y, y1, ks, at)
            return values(at, inside)[number]

        sign = jnp.sign(jax.vmap(g)(jnp.arange(middle.shape[0]), middle))
        before = sign.astype(jnp.int32) == seen.came
        return jnp.where(before, middle, low), jnp.where(before, high, middle)

    # Times, and not shares of the step: what comes out of a loop is one number to all who read it,
    # while a compiler may round a sum for each of them anew, and two times of the row would differ.
    ends = (jnp.broadcast_to(x, seen.came.shape) for x in (t, t + h))
    bits = int(jnp.finfo(t.dtype).nmant) + 2
    _, high = lax.fori_loop(0, bits, halve, tuple(ends))
    ahead = jnp.where(seen.fired, jnp.abs(high - t[None]), jnp.inf)
    which = jnp.argmin(ahead, axis=0).astype(jnp.int32)
    return jnp.take_along_axis(high, which[None], axis=0)[0], which
