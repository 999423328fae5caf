"""The exact gradient of the steps that were taken, one step's pullback at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, PyTree

from pullback._lanes import (
    State,
    add,
    add_time,
    put,
    rows_at,
    select,
    select_add,
    take,
    time_at,
    zeros_like,
)

from ._adjoint import AbstractAdjoint, Pulled
from ._jumps import piece, sided
from ._loop import integrate, pinned
from ._method import Method, Path, Record, Recorder
from ._nowhere import goes_nowhere, rising_gradient
from ._result import Result, Stats
from ._runge_kutta import (
    Field,
    advance,
    advance_compactly,
    combination,
    interpolation,
    stages,
)


class _Kept(NamedTuple):
    y0: State
    record: Record
    slots: Array
    intact: Array


class Replay(AbstractAdjoint):
    r"""Differentiate the steps that were taken, from the last to the first.

    The forward pass keeps the state at the start of each accepted step and the step's size. The
    backward pass takes the vector-Jacobian product of one step at a time,

    $$ \lambda_n = \left(\frac{\partial y_{n+1}}{\partial y_n}\right)^\top \lambda_{n+1},
       \qquad \bar\theta \mathrel{+}= \left(\frac{\partial y_{n+1}}{\partial \theta}\right)^\top
       \lambda_{n+1}, $$

    so the gradient is, to rounding, that of the steps that were taken, at the sizes that were
    taken. Sizes count as constants: how the controller would choose others for another start or
    other parameters is not differentiated. So with adaptive steps the gradient differs from finite
    differences of what the solve returns, by about as much as the tolerance makes them both differ
    from those of the true solution: on a predator and its prey by 8e-3 of the gradient at the
    default `rtol` of 1e-4, 4e-5 at 1e-6, 9e-7 at 1e-8. With `steps=` it is exact. In the gradient
    with respect to `ts`, a step keeps its place relative to the first and the last time.

    Memory is `segment + checkpoints` states, whatever the number of steps. The last `segment`
    states are kept as they are, so a solve of that many steps costs no recomputation. Before them
    every `segment`-th state is held; a longer solve is run again from there, one more forward pass
    in all up to `segment * checkpoints` steps. Beyond, the states held move twice as far apart, and
    the recomputation grows with the number of steps over `segment * checkpoints`.

    Forward mode carries slopes along the same steps, so its numbers are those of reverse mode.
    Second derivatives: forward over reverse works (`jax.jvp` of `jax.grad`, `jax.hessian`), and so
    does forward over forward; reverse over either does not: use `diffrax.DirectAdjoint()`.
    Those with respect to times between two steps are of the interpolation, three orders less exact.

    Attributes:
        segment: how many of the last states are kept.
        checkpoints: how many earlier states are held.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> end = lambda y0: pb.ode.solve(
        ...     lambda t, y, args: -y, y0, jnp.array([0.0, 1.0]), rtol=1e-6, adjoint=pb.ode.Replay()
        ... ).ys[-1]
        >>> bool(abs(jax.grad(end)(jnp.array(2.0)) - jnp.exp(-1.0)) < 1e-5)
        True

    Source: discretise-then-optimise, as in the RK-Net of Chen et al. (2018), table 1.
    """

    segment: int = 32
    checkpoints: int = 16

    def __check_init__(self) -> None:
        for name in ("segment", "checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Replay({name}=...) must be at least 1, got {getattr(self, name)}"
                )

    def primal(self, method: Method, field: Field, y0: State, ts: Array, params: PyTree) -> Path:
        """Solve, and keep nothing."""
        return integrate(method, field, y0, ts, params)

    def forward(
        self, method: Method, field: Field, y0: State, ts: Array, params: PyTree
    ) -> tuple[Path, _Kept]:
        """Solve, and record the steps."""
        segment = min(self.segment, method.max_steps)
        needed = -(-method.max_steps // segment)
        recorder = Recorder(segment, min(self.checkpoints, needed))
        path = integrate(method, field, y0, ts, params, recorder)
        if path.record is None:
            raise ValueError("a recorder was given, so there is a record")
        # A lane that fails goes on trying; its last tries may have written over the ring's start.
        intact = jnp.all(path.code == Result.SUCCESSFUL) | (path.slots % segment != 0)
        return path, _Kept(y0, path.record, path.slots, intact)

    def backward(
        self,
        method: Method,
        field: Field,
        residuals: _Kept,
        ts: Array,
        params: PyTree,
        cotangent: State,
        *,
        times_too: bool,
    ) -> Pulled:
        """Pull the cotangent back through the recorded steps."""
        y0, record, slots, intact = residuals
        segment = record.ring_t.shape[0]
        times = ts.shape[-1]
        last = jnp.full(ts.shape[:-1], times - 1, jnp.int32)
        loop = _Loop(
            cotangent=rows_at(cotangent, last),
            params=zeros_like(params),
            ts=jnp.zeros_like(ts),
            # The last time is the end of the last step, not an output inside one.
            cursor=last - int(method.outputs(times) == "dense"),
            replayed=jnp.zeros((), jnp.int32),
        )

        def one_segment(k: Array, carry: tuple[_Loop, Record]) -> tuple[_Loop, Record]:
            loop, record = carry
            number = (slots - 1) // segment - k
            first = number * segment
            end = jnp.minimum(first + segment, slots)
            if method.max_steps > segment:
                refill = jnp.where((k == 0) & intact, 0, end - first)
                record, replayed = _refill(method, field, ts, params, record, first, refill)
                loop = loop._replace(replayed=loop.replayed + replayed)

            def one_step(j: Array, loop: _Loop) -> _Loop:
                slot = end - 1 - j
                place = slot % segment
                step = _Step(
                    slot,
                    take(record.ring_t, place),
                    take(record.h, slot),
                    take(record.ring_y, place),
                )
                return _pull_step(method, field, ts, params, cotangent, step, loop, times_too)

            return lax.fori_loop(0, end - first, one_step, loop), record

        segments = -(-slots // segment)
        loop, _ = lax.fori_loop(0, segments, one_segment, (loop, record))
        loop, extra = _pull_start(method, field, y0, ts, params, cotangent, slots, loop, times_too)
        used = method.tableau.stages - method.tableau.fsal
        stats = Stats(
            nfe=used * (slots + loop.replayed) + extra,
            accepted=slots,
            rejected=jnp.zeros_like(slots),
        )
        return Pulled(loop.cotangent, loop.ts, loop.params, stats)


class _Loop(NamedTuple):
    cotangent: State
    params: PyTree
    ts: Array
    cursor: Array
    replayed: Array


class _Step(NamedTuple):
    slot: Array
    t: Array
    h: Array
    y: State


def _refill(
    method: Method,
    field: Field,
    ts: Array,
    params: PyTree,
    record: Record,
    first: Array,
    count: Array,
) -> tuple[Record, Array]:
    """Fill the ring with the states of `count` steps from number `first`; none when it is zero."""
    segment = record.ring_t.shape[0]
    # The latest state held that is no later than the first wanted.
    place = jnp.argmax(jnp.where(record.held_step <= first, record.held_step, -1))
    start = jnp.where(count == 0, first, record.held_step[place])
    t, y = take(record.held_t, place), take(record.held_y, place)

    # States before the first wanted are kept too, and written over, so that one loop does.
    def step(slot: Array, carry: tuple) -> tuple:
        t, y, ring_t, ring_y = carry
        place = slot % segment
        ring_t, ring_y = put(ring_t, t, place), put(ring_y, y, place)
        h = take(record.h, slot)
        if method.knots is None:
            y = advance_compactly(method.tableau, field, t, h, y, params)
            return t + h, y, ring_t, ring_y
        left, right = piece(method, ts, t, slot)
        near = sided(method, field, ts, left, right)
        y = advance_compactly(method.tableau, near, t, h, y, params)
        # A step that ended at a jump ends on it again, whatever the sum rounds to.
        last = h == right - t if method.steps is None else (slot + 1) % method.steps == 0
        return jnp.where(last, right, t + h), y, ring_t, ring_y

    carry = (t, y, record.ring_t, record.ring_y)
    _, _, ring_t, ring_y = lax.fori_loop(start, first + count, step, carry)
    return record._replace(ring_t=ring_t, ring_y=ring_y), first - start + count


def _pull_step(
    method: Method,
    field: Field,
    ts: Array,
    params: PyTree,
    cotangent: State,
    step: _Step,
    loop: _Loop,
    times_too: bool,
) -> _Loop:
    """Pull the cotangent back through one step, and through the outputs that lie in it."""
    tableau, mode = method.tableau, method.outputs(ts.shape[-1])
    t, h, y = step.t, step.h, step.y
    if method.knots is not None:
        field = sided(method, field, ts, *piece(method, ts, t, step.slot))
    if mode == "nodes":
        steps = method.steps or 1
        ends = (step.slot + 1) % steps == 0
        interval = (step.slot + 1) // steps
        # The last node's cotangent is where the loop began.
        ends &= interval != ts.shape[-1] - 1
        loop = loop._replace(
            cotangent=jax.tree.map(
                lambda a, b: a + jnp.where(ends, b, 0.0), loop.cotangent, take(cotangent, interval)
            )
        )
    if mode == "dense":
        return _pull_dense(method, field, ts, params, cotangent, step, loop)
    if times_too:
        end = lambda t, h, y, params: advance(tableau, field, t, h, y, params)
        _, pull = jax.vjp(end, t, h, y, params)
        t_bar, h_bar, y_bar, params_bar = pull(loop.cotangent)
        loop = loop._replace(ts=loop.ts + _on_times(method, ts, step, t_bar, h_bar))
    else:
        _, pull = jax.vjp(lambda y, p: advance(tableau, field, t, h, y, p), y, params)
        y_bar, params_bar = pull(loop.cotangent)
    return loop._replace(cotangent=y_bar, params=add(loop.params, params_bar))


def _on_times(method: Method, ts: Array, step: _Step, t_bar: Array, h_bar: Array) -> Array:
    """The gradient of a step's start and size, carried to the times that placed them."""
    if method.steps is None:
        place = lambda ts: pinned(step.t, step.h, *piece(method, ts, step.t, step.slot))
    else:
        steps = method.steps
        interval = step.slot // steps
        within = (step.slot % steps).astype(ts.dtype)

        def place(ts: Array) -> tuple[Array, Array]:
            left, right = (
                lax.dynamic_index_in_dim(ts, interval + i, -1, keepdims=False) for i in (0, 1)
            )
            share = (right - left) / steps
            return left + within * share, share

    # A lane that did not move has no step to place; one between two equal times has, of size zero.
    moved = step.h != 0
    if method.steps is not None:
        moved |= place(ts)[1] == 0
    _, pull = jax.vjp(place, ts)
    return pull((jnp.where(moved, t_bar, 0.0), jnp.where(moved, h_bar, 0.0)))[0]


def _pull_start(
    method: Method,
    field: Field,
    y0: State,
    ts: Array,
    params: PyTree,
    cotangent: State,
    slots: Array,
    loop: _Loop,
    times_too: bool,
) -> tuple[_Loop, Array]:
    """Pull back the first output, and those of lanes that go nowhere, which lie in no step.

    Also returns how often `f` was evaluated.
    """
    times = ts.shape[-1]
    still = goes_nowhere(method.steps is not None, ts, slots)
    first = take(cotangent, jnp.zeros_like(slots))
    if not times_too:
        # The loop began with the last row.
        rest = jax.tree.map(lambda bar: jnp.sum(bar[: times - 1], axis=0), cotangent)
        found = add(loop.cotangent, select(still, rest, first)), loop.params
        y_bar, params_bar = rising_gradient(found, ts, still, cotangent, y0, params, field)
        return loop._replace(cotangent=y_bar, params=params_bar), jnp.zeros_like(slots)

    def near(at: Array, t: Array, y: State, params: PyTree) -> State:
        # Of order two, for those who differentiate the gradient by the times once more.
        h = at - t
        middle = add(y, combination(h / 2, (1.0,), [field(t, y, params)]))
        return add(y, combination(h, (1.0,), [field(t + h / 2, middle, params)]))

    def one(carry: tuple[Array, _Loop]) -> tuple[Array, _Loop]:
        i, loop = carry
        bar = take(cotangent, i)
        _, pull = jax.vjp(near, ts[..., i], ts[..., 0], y0, params)
        at_bar, t_bar, y_bar, params_bar = pull(select(still, bar, zeros_like(bar)))
        ts_bar = loop.ts.at[..., i].add(jnp.where(still, at_bar, 0.0))
        ts_bar = ts_bar.at[..., 0].add(jnp.where(still, t_bar, 0.0))
        return i + 1, loop._replace(
            cotangent=add(loop.cotangent, y_bar), params=add(loop.params, params_bar), ts=ts_bar
        )

    def some(carry: tuple[Array, _Loop]) -> Array:
        return (carry[0] < times) & jnp.any(still)

    # The loop began with the last row.
    begun = select(still, zeros_like(first), loop.cotangent)
    loop = loop._replace(cotangent=add(begun, first))
    end, loop = lax.while_loop(some, one, (jnp.ones_like(slots), loop))
    return loop, 2 * (end - 1)


def _pull_dense(
    method: Method,
    field: Field,
    ts: Array,
    params: PyTree,
    cotangent: State,
    step: _Step,
    loop: _Loop,
) -> _Loop:
    """As `_pull_step`, where outputs are interpolated between a step's ends."""
    tableau = method.tableau
    t, h, y = step.t, step.h, step.y

    def whole(t: Array, h: Array, y: State, params: PyTree) -> tuple[State, list[State]]:
        ks, y1 = stages(tableau, field, t, h, y, field(t, y, params), params)
        return y1, ks

    (y1, ks), pull = jax.vjp(whole, t, h, y, params)
    moved = h != 0
    direction = jnp.sign(ts[..., -1] - ts[..., 0])
    # The outputs at the first time lie in the first step.
    after = jnp.where(t == ts[..., 0], -jnp.inf, direction * t)

    def due(cursor: Array) -> Bool[Array, "*lanes"]:
        at = time_at(ts, jnp.maximum(cursor, 0))
        return moved & (cursor > 0) & (direction * at > after)

    def output(carry: tuple) -> tuple:
        cursor, bars, at_bars = carry
        mask, index = due(cursor), jnp.maximum(cursor, 0)
        at = time_at(ts, index)
        # Lanes with nothing due interpolate at their start, and their cotangent is zero.
        value = lambda t, h, y, y1, ks, at: interpolation(tableau, t, h, y, y1, ks, at)
        _, pull_value = jax.vjp(value, t, h, y, y1, ks, jnp.where(mask, at, t))
        bar = rows_at(cotangent, index)
        *new, at_bar = pull_value(select(mask, bar, zeros_like(bar)))
        bars = select_add(mask, bars, tuple(new))
        return (
            cursor - mask.astype(jnp.int32),
            bars,
            add_time(at_bars, index, jnp.where(mask, at_bar, 0.0)),
        )

    zero = (zeros_like(t), zeros_like(h), zeros_like(y), zeros_like(y1), zeros_like(ks))
    cursor, bars, ts_bar = lax.while_loop(
        lambda carry: jnp.any(due(carry[0])), output, (loop.cursor, zero, loop.ts)
    )
    t_out, h_out, y_out, y1_out, ks_out = bars
    t_bar, h_bar, y_bar, params_bar = pull((add(loop.cotangent, y1_out), ks_out))
    ts_bar = ts_bar + _on_times(method, ts, step, t_bar + t_out, h_bar + h_out)
    return loop._replace(
        cotangent=add(y_bar, y_out), params=add(loop.params, params_bar), ts=ts_bar, cursor=cursor
    )
