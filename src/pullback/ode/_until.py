"""A solve up to an event, by a solve up to a time."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from pullback._clock import Clock
from pullback._lanes import State, select, spread

from ._complex import as_pairs, joined
from ._crossing import Crossing, crossing
from ._event import Watched
from ._problem import Problem
from ._result import Result, Solution, Stats, Stop


@eqx.filter_jit
def until(
    problem: Problem, events: tuple[Watched, ...], solve: Callable[[Problem], Any]
) -> tuple[PyTree, Stats, Array, Array, Stop]:
    """What a `Solution` holds but for its times.

    The event is found by steps that are not differentiated; then the solve that is stops at the
    time that was found, which is held, and all derivatives of the event come from the flow there.
    """
    found = crossing(problem, events)
    times = problem.ts.shape[-1]
    answer = solve(_cut(problem, found))
    axis = 1 if problem.per_sample else 0
    rows = jax.tree.map(lambda y: jnp.moveaxis(y, axis, 0), as_pairs(answer.ys))
    lanes = _Lanes(problem, events)
    last = lax.stop_gradient(found.t)
    last = jnp.where(found.happened, last, problem.ts[..., -1])
    given = problem.clock, found, problem.ts, last, jax.tree.map(lambda y: y[times], rows)
    each = jax.vmap(lanes) if problem.per_sample else lanes
    t, y, rate = each(*given)
    sign = jnp.sign(problem.ts[..., -1] - problem.ts[..., 0])
    happened, still = found.happened, lax.stop_gradient(t)

    def output(since: Array, row: State) -> State:
        """A row of the outputs; NaN after the event."""
        seen = ~happened | (sign * since <= sign * still)
        # Of times between the one that was found and the event.
        late = jnp.where(happened & (sign * since > sign * last), since - last, 0.0)
        row = jax.tree.map(lambda y, k: y + spread(late, k) * k, row, rate)
        return select(seen, row, jax.tree.map(lambda y: jnp.full_like(y, jnp.nan), row))

    rows = jax.vmap(output)(
        jnp.moveaxis(problem.ts, -1, 0), jax.tree.map(lambda y: y[:times], rows)
    )
    ys = joined(jax.tree.map(lambda y: jnp.moveaxis(y, 0, axis), rows))
    # Of a search that failed no solve is to be had, whatever the second one found.
    failed = ~found.happened & (found.code != Result.SUCCESSFUL)
    code = jnp.where(failed, found.code, answer.result)
    well = code == Result.SUCCESSFUL
    at = jnp.where(well, problem.clock.reached(t), jnp.nan)
    stop = Stop(
        t=at,
        y=joined(y),
        happened=found.happened & well,
        which=jnp.where(well, found.which, -1),
    )
    stats = dataclasses.replace(answer.stats, nfe=answer.stats.nfe + found.nfe)
    reached = jnp.where(well, lax.stop_gradient(problem.clock.reached(t)), answer.t_reached)
    return ys, stats, code, reached, stop


def _cut(problem: Problem, found: Crossing) -> Problem:
    """The problem whose last times are that of the event, with one row more for it."""
    ts, end, happened = problem.ts, found.t[..., None], found.happened[..., None]
    sign = jnp.sign(ts[..., -1:] - ts[..., :1])
    clipped = jnp.where(happened & (sign * ts > sign * end), end, ts)
    last = jnp.where(happened, end, ts[..., -1:])
    ts = jnp.concatenate([clipped, last], axis=-1)
    problem = eqx.tree_at(lambda p: p.ts, problem, ts)
    method = problem.method
    if method is None or method.steps is None:
        return problem
    method = dataclasses.replace(method, max_steps=method.max_steps + method.steps)
    return dataclasses.replace(problem, method=method, max_steps=method.max_steps)


class _Lanes(eqx.Module):
    """The event of one lane, from the state at the time that was found for it."""

    problem: Problem
    events: tuple[Watched, ...]

    def __call__(
        self, clock: Clock, found: Crossing, ts: Array, last: Array, y: State
    ) -> tuple[Array, State, State]:
        """The time and the state, differentiable, and the slope of the state."""
        field, params = self.problem.field, self.problem.field.params
        rate = field(clock.time(last), y, params)

        def near(t: Array) -> State:
            # Of order two, for those who differentiate twice.
            h = t - last
            go = lambda h, k: jax.tree.map(lambda y, k: y + h.astype(y.dtype) * k, y, k)
            return go(h, field(clock.time(last + h / 2), go(h / 2, rate), params))

        def g(t: Array) -> Array:
            at, state = clock.time(t), near(t)
            roots = [lambda at, state, e=e: e(at, state) for e in self.events]
            return lax.switch(jnp.maximum(found.which, 0), roots, at, state).astype(t.dtype)

        def newton(t: Array, _: None) -> tuple[Array, None]:
            value, slope = jax.jvp(g, (t,), (jnp.ones_like(t),))
            # One that is flat has an infinite derivative: a huge one keeps the value a number.
            flat = float(jnp.finfo(slope.dtype).tiny) ** 0.5
            slope = jnp.where(slope == 0, flat, slope)
            change = -value / jnp.where(found.happened, slope, 1.0)
            far = jnp.abs(change) > found.within
            change = jnp.where(far, change - lax.stop_gradient(change), change)
            return t + change, None

        # The first makes the first derivative right, the second those up to the third.
        t, _ = lax.scan(newton, last, None, length=2)
        low, high = jnp.minimum(ts[0], ts[-1]), jnp.maximum(ts[0], ts[-1])
        t = t + lax.stop_gradient(jnp.clip(t, low, high) - t)
        t = jnp.where(found.happened, t, last)
        y = jax.tree.map(lambda a, b: jnp.where(found.happened, a, b), near(t), y)
        return t, y, rate


def stopped(problem: Problem, ts: Any, events: tuple[Watched, ...], solve: Callable) -> Solution:
    """The solution up to an event."""
    ys, stats, code, reached, stop = until(problem, events, solve)
    return Solution(ts, ys, stats, code, reached, stop)
