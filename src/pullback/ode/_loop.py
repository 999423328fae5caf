"""The stepping loop: joint or per-sample steps, adaptive or fixed, recording or not.

The same loop serves every mode, because a joint solve is one lane with a time of shape `[]`, and a
per-sample solve has a lane for each entry of the leading axis. A lane that has finished, failed or
had its step refused takes a step of size zero, which changes nothing; so the batch stays one
matrix product, and one record of step sizes replays all lanes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from pullback._lanes import State, put, select, set_rows, spread, take, time_at

from ._control import first_step, scaled
from ._jumps import landed, passed, piece, restarted, sided
from ._method import Method, Path, Record, Recorder
from ._nowhere import rising
from ._record import checkpoint, empty_record
from ._result import RUNNING, Result
from ._runge_kutta import Field, combination, interpolation, stages


class Carry(NamedTuple):
    """The state of the loop."""

    t: Array
    h: Array
    y: State
    k1: State
    errors: tuple[Array, Array]
    code: Array
    accepted: Array
    rejected: Array
    slot: Int[Array, ""]
    cursor: Array
    ys: State | None
    record: Record | None


def pinned(t: Array, h: Array, t0: Array, t1: Array) -> tuple[Array, Array]:
    """`t` and `h`, differentiable in `t0` and `t1` with their place between the two held.

    The controller's choice of a step is not differentiated; where the steps lie, relative to the
    two ends, is what a solve fixes. The terms added are zero.
    """
    still = lax.stop_gradient
    d0, d1 = t0 - still(t0), t1 - still(t1)
    width = still(jnp.where(t1 == t0, 1.0, t1 - t0))
    u, w = still((t - t0) / width), still(h / width)
    return still(t) + (1 - u) * d0 + u * d1, still(h) + w * (d1 - d0)


def integrate(
    method: Method,
    field: Field,
    y0: State,
    ts: Float[Array, "*lanes times"],
    params: PyTree,
    recorder: Recorder | None = None,
) -> Path:
    """Step through `ts`, and look at no derivative: what an adjoint is made of.

    Args:
        method: as the adjoint was given it.
        field: `field(t, y, params)`, for all lanes at once.
        y0: the state at the first of `ts`.
        ts: counted from the first, as the adjoint was given them; or any other times that are
            monotone along the last axis, such as two of them the other way round. All equal, no
            step is taken.
        params: handed to `field`.
        recorder: what to keep of the way, in `Path.record`; nothing when None.

    Returns:
        A `Path`, whose `ys` is None where `ts` has two entries: they are `y0` and `Path.y`.

    Example:
        The half-life of a decay, by a method that is written out:

        >>> import diffrax, jax.numpy as jnp, pullback as pb
        >>> method = pb.ode.Method(
        ...     tableau=pb.ode.tableau_of(diffrax.Dopri5()), controller=pb.ode.PIDController(),
        ...     norm=pb.ode.rms_norm, rtol=jnp.array(1e-6), atol=jnp.array(1e-6), steps=None,
        ...     max_steps=4096, per_sample=False,
        ... )
        >>> ts = jnp.array([0.0, jnp.log(2.0)])
        >>> path = pb.ode.integrate(method, lambda t, y, rate: -rate * y, jnp.ones(1), ts, 1.0)
        >>> bool(abs(path.y[0] - 0.5) < 1e-4)
        True
    """
    carry = _start(method, field, y0, ts, params, recorder)
    # Two evaluations start an adaptive solve, one a fixed one.
    first = 1 + (method.dt0 is None) if method.steps is None else int(method.tableau.fsal)
    step = lambda c: _attempt(method, field, ts, params, recorder, c)

    def running(c: Carry) -> Bool[Array, ""]:
        return jnp.any(c.code == RUNNING)

    if recorder is None:
        carry = lax.while_loop(running, step, carry)
    else:

        def segment(c: Carry) -> Carry:
            end = c.slot + recorder.segment
            c = c._replace(record=checkpoint(recorder, c.record, c.slot, c.t, c.y))
            return lax.while_loop(lambda c: running(c) & (c.slot < end), step, c)

        carry = lax.while_loop(running, segment, carry)
    attempts = carry.accepted + carry.rejected
    nfe = first + method.tableau.evaluations * attempts
    if method.knots is not None and method.tableau.fsal:
        nfe += passed(method, ts, carry.t)
    y, ys = rising((carry.y, carry.ys), ts, carry.slot, y0, params, field, method.steps is not None)
    return Path(
        t=carry.t,
        y=y,
        code=carry.code,
        accepted=carry.accepted,
        rejected=carry.rejected,
        nfe=nfe,
        ys=ys,
        record=carry.record,
        slots=carry.slot,
    )


def _start(
    method: Method,
    field: Field,
    y0: State,
    ts: Array,
    params: PyTree,
    recorder: Recorder | None,
) -> Carry:
    t, t1, times = ts[..., 0], ts[..., -1], ts.shape[-1]
    lanes = t.shape
    zero = jnp.zeros(lanes, jnp.int32)
    gaps = jnp.diff(ts, axis=-1) * jnp.sign(t1 - t)[..., None]
    ordered = jnp.all(jnp.isfinite(ts), axis=-1) & jnp.all(gaps >= 0, axis=-1)
    # Repeated times are fine; going out and coming back is not.
    ordered &= (t1 != t) | jnp.all(ts == t[..., None], axis=-1)
    code = jnp.where(t1 == t, Result.SUCCESSFUL, RUNNING)
    # A field need not pass on what is not finite.
    code = jnp.where(method.lane_all(y0), code, Result.NON_FINITE)
    code = jnp.where(ordered, code, Result.TIMES_NOT_MONOTONE).astype(jnp.int32)
    if method.knots is not None:
        t1 = piece(method, ts, t, jnp.zeros((), jnp.int32))[1]
        field = sided(method, field, ts, t, t1)
    if method.steps is None or method.tableau.fsal:
        k1 = field(t, y0, params)
        code = jnp.where((code == RUNNING) & ~method.lane_all(k1), Result.NON_FINITE, code)
    else:
        k1 = y0
    if method.steps is None and method.dt0 is not None:
        h = method.controller.limited(jnp.sign(t1 - t) * method.dt0)
    elif method.steps is None:
        still = lax.stop_gradient
        h = first_step(
            field,
            method.lane_norm,
            spread,
            method.tableau.order,
            *still((t, t1, y0, k1, params, method.rtol, method.atol)),
        )
        h = method.controller.limited(h)
    else:
        h = jnp.zeros_like(t)
    ys = None
    if method.outputs(times) != "end":
        ys = jax.tree.map(lambda y: jnp.full((times, *y.shape), jnp.nan, y.dtype), y0)
        ys = put(ys, y0, jnp.zeros((), jnp.int32))
        # Where nothing moves, every time asked for is the first one.
        still_lane = jnp.all(ts == t[..., None], axis=-1)
        ys = jax.tree.map(lambda b, y: jax.vmap(lambda row: select(still_lane, y, row))(b), ys, y0)
    record = None if recorder is None else empty_record(method, recorder, t, y0)
    ones = jnp.ones_like(t, shape=lanes)
    return Carry(
        t=t,
        h=h,
        y=y0,
        k1=k1,
        errors=(ones, ones),
        code=code,
        accepted=zero,
        rejected=zero,
        slot=jnp.zeros((), jnp.int32),
        cursor=zero + 1,
        ys=ys,
        record=record,
    )


def _attempt(
    method: Method,
    field: Field,
    ts: Array,
    params: PyTree,
    recorder: Recorder | None,
    c: Carry,
) -> Carry:
    tableau, active = method.tableau, c.code == RUNNING
    t, h, t_next, k1, near = _propose(method, field, ts, params, c)
    h = jnp.where(active, h, 0.0)
    ks, y1 = stages(tableau, near, t, h, c.y, k1, params)
    error = _error(method, h, c.y, y1, ks)
    finite = jnp.isfinite(error)
    accept = active & (error <= 1)
    moved = jnp.where(accept, h, 0.0)

    record = c.record
    if record is not None and recorder is not None:
        place = c.slot % recorder.segment
        record = record._replace(
            ring_t=put(record.ring_t, t, place),
            ring_y=put(record.ring_y, c.y, place),
            h=put(record.h, moved, c.slot),
        )
    ys, cursor = _emit(method, ts, c, t, t_next, accept, y1, ks)

    accepted = c.accepted + accept.astype(jnp.int32)
    rejected = c.rejected + (active & ~accept).astype(jnp.int32)
    t_new = jnp.where(accept, t_next, c.t)
    slot = c.slot + jnp.any(accept).astype(jnp.int32)
    code = _judge(method, ts, c, slot, t_new, h, accepted + rejected, accept, finite)
    h_new, errors = c.h, c.errors
    if method.steps is None:
        factor = method.controller.factor(tableau.order, error, *c.errors, accept)
        h_new = jnp.where(active, h * factor, c.h)
        if method.knots is not None:
            # A step that a jump cut short says nothing against the size it was to have.
            cut = accept & (jnp.abs(h) < jnp.abs(c.h)) & (jnp.abs(h_new) < jnp.abs(c.h))
            h_new = jnp.where(cut, c.h, h_new)
        h_new = method.controller.limited(h_new)
        last = jnp.maximum(error, 1e-10)
        errors = (
            jnp.where(accept, last, c.errors[0]),
            jnp.where(accept, c.errors[0], c.errors[1]),
        )
    y = select(accept, y1, c.y)
    k1 = select(accept, ks[-1], k1) if tableau.fsal else k1
    if method.knots is not None and tableau.fsal:
        jumped = accept & (code == RUNNING) & landed(method, ts, t_new)
        k1 = restarted(method, field, ts, jumped, y, k1, params, (t_new, slot))
    return Carry(
        t=t_new,
        h=h_new,
        y=y,
        k1=k1,
        errors=errors,
        code=code,
        accepted=accepted,
        rejected=rejected,
        slot=slot,
        cursor=cursor,
        ys=ys,
        record=record,
    )


def _propose(
    method: Method, field: Field, ts: Array, params: PyTree, c: Carry
) -> tuple[Array, Array, Array, State, Field]:
    """Start, size and end of the next step, the first stage there, and the field that it sees."""
    if method.steps is None:
        t0, t1 = piece(method, ts, c.t, c.slot)
        # Stretching the last step by up to 1 % spares a sliver of a step after it.
        last = jnp.abs(t1 - c.t) <= 1.01 * jnp.abs(c.h)
        t, h = pinned(c.t, jnp.where(last, t1 - c.t, c.h), t0, t1)
        t_next = jnp.where(last, t1, t + h)
    else:
        interval, within = c.slot // method.steps, c.slot % method.steps
        t0, t1 = (lax.dynamic_index_in_dim(ts, interval + i, -1, keepdims=False) for i in (0, 1))
        share = (t1 - t0) / method.steps
        t, h = t0 + within.astype(ts.dtype) * share, share
        t_next = jnp.where(within + 1 == method.steps, t1, t + h)
    near = sided(method, field, ts, t0, t1)
    k1 = c.k1 if method.tableau.fsal else near(t, c.y, params)
    return t, h, t_next, k1, near


def _error(method: Method, h: Array, y0: State, y1: State, ks: list[State]) -> Array:
    """The error over its tolerance; for fixed steps 0, or NaN when a value is not finite."""
    y0, y1, ks, h = lax.stop_gradient((y0, y1, ks, h))
    if method.steps is not None:
        return jnp.where(method.lane_all(y1), 0.0, jnp.nan).astype(h.dtype)
    if method.tableau.b_error is None:
        raise ValueError("a method without an error estimate needs fixed steps")
    error = combination(h, method.tableau.b_error, ks)
    return method.lane_norm(scaled(error, y0, y1, method.rtol, method.atol)).astype(h.dtype)


def _judge(
    method: Method,
    ts: Array,
    c: Carry,
    slot: Array,
    t: Array,
    h: Array,
    attempts: Array,
    accept: Array,
    finite: Array,
) -> Array:
    """Whether a lane goes on, has arrived, or has failed."""
    if method.steps is None:
        arrived = accept & (t == ts[..., -1])
        # Below this a step cannot be told from rounding in the time (at time zero, of the span).
        eps = float(jnp.finfo(t.dtype).eps)
        resolution = 4 * eps * (jnp.abs(t) + eps * jnp.abs(ts[..., -1] - ts[..., 0]))
        if method.controller.dtmin is not None:
            resolution = jnp.maximum(resolution, method.controller.dtmin)
        stuck = ~accept & (jnp.abs(h) <= resolution)
        spent = attempts >= method.max_steps
    else:
        arrived = accept & (slot == method.steps * (ts.shape[-1] - 1))
        stuck = ~finite
        spent = jnp.zeros_like(accept)
    failure = jnp.where(finite, Result.STEP_UNDERFLOW, Result.NON_FINITE)
    code = jnp.where(spent, Result.MAX_STEPS_REACHED, RUNNING)
    code = jnp.where(stuck, failure, code)
    code = jnp.where(arrived, Result.SUCCESSFUL, code)
    return jnp.where(c.code == RUNNING, code, c.code).astype(jnp.int32)


def _emit(
    method: Method,
    ts: Array,
    c: Carry,
    t: Array,
    t_next: Array,
    accept: Array,
    y1: State,
    ks: list[State],
) -> tuple[State | None, Array]:
    """Write the outputs that lie in an accepted step."""
    times = ts.shape[-1]
    mode = method.outputs(times)
    if mode == "end":
        return c.ys, c.cursor
    if mode == "nodes":
        # Each step writes; the last of an interval is the one that stays.
        at = c.slot // (method.steps or 1) + 1
        return put(c.ys, select(accept, y1, take(c.ys, at)), at), c.cursor
    direction = jnp.sign(ts[..., -1] - ts[..., 0])
    h = t_next - t

    def wanted(cursor: Array) -> Bool[Array, "*lanes"]:
        at = time_at(ts, jnp.minimum(cursor, times - 1))
        return accept & (cursor < times) & (direction * at <= direction * t_next)

    def write(loop: tuple[Array, State]) -> tuple[Array, State]:
        cursor, ys = loop
        due, index = wanted(cursor), jnp.minimum(cursor, times - 1)
        at = time_at(ts, index)
        value = interpolation(method.tableau, t, h, c.y, y1, ks, at)
        # The step's end itself, which moves with the output's time as the interpolation does.
        still = lax.stop_gradient
        exact = still(select(at == t_next, y1, value))
        value = jax.tree.map(lambda e, v: e + (v - still(v)), exact, value)
        return cursor + due.astype(jnp.int32), set_rows(ys, index, due, value)

    cursor, ys = lax.while_loop(lambda loop: jnp.any(wanted(loop[0])), write, (c.cursor, c.ys))
    return ys, cursor
