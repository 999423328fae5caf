"""The arguments of a solve, checked, and its vector field, traced once."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, PyTree

from pullback._clock import Clock, times_of

from ._adjoint import AbstractAdjoint
from ._control import PID, Norm
from ._loop import Method
from ._replay import Replay
from ._runge_kutta import Field, tableau_of


class Problem(eqx.Module):
    """The arguments of a solve, checked. `method` is None when Diffrax is to run it."""

    f: Callable
    y0: PyTree
    # Counted from the first, as all that follows counts them.
    ts: Array
    clock: Clock
    args: PyTree
    rtol: Array
    atol: Array
    method: Method | None
    adjoint: Any
    solver: diffrax.AbstractSolver
    control: PID = eqx.field(static=True)
    norm: Norm = eqx.field(static=True)
    steps: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    per_sample: bool = eqx.field(static=True)
    shared_times: bool = eqx.field(static=True)


def problem_of(
    f: Any,
    y0: PyTree,
    ts: Any,
    args: PyTree,
    solver: Any,
    rtol: Any,
    atol: Any,
    steps: int | None,
    adjoint: Any,
    stepping: str,
    control: PID | None,
    norm: Norm,
    max_steps: int,
) -> tuple[Problem, Array | np.ndarray]:
    """The problem, and its times as they were given."""
    if not callable(f):
        raise TypeError(f"f must be a function f(t, y, args), got {type(f).__name__}")
    if stepping not in ("joint", "per_sample"):
        raise ValueError(f'stepping must be "joint" or "per_sample", got {stepping!r}')
    per_sample = stepping == "per_sample"
    y0, dtype = _checked_state(y0)
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, or None for error control, got {steps}")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    rtol, atol = (_tolerance(n, v, dtype) for n, v in (("rtol", rtol), ("atol", atol)))
    solver = diffrax.Dopri5() if solver is None else solver
    if not isinstance(solver, diffrax.AbstractSolver):
        raise TypeError(f"solver must be a Diffrax solver such as Dopri5(), got {solver!r}")
    adjoint = Replay() if adjoint is None else adjoint
    if not isinstance(adjoint, AbstractAdjoint | diffrax.AbstractAdjoint):
        raise TypeError(
            f"adjoint must be Replay(), Backsolve(), Silent() or one of Diffrax's, got {adjoint!r}"
        )
    tableau = tableau_of(solver)
    if tableau is not None and tableau.b_error is None and steps is None:
        name = type(solver).__name__
        raise ValueError(f"solver {name} has no error estimate to adapt steps by: give steps=N")
    ours = tableau is not None and not isinstance(adjoint, diffrax.AbstractAdjoint)
    given, ts, clock = _checked_times(ts, y0, dtype, per_sample, ours)
    shared_times = ts.ndim == 1
    if per_sample and shared_times:
        batch = jax.tree.leaves(y0)[0].shape[:1]
        ts, clock = jax.tree.map(lambda x: jnp.broadcast_to(x[None], batch + x.shape), (ts, clock))
    if steps is not None:
        max_steps = steps * (ts.shape[-1] - 1)
    control = PID() if control is None else control
    method = None
    if tableau is not None and ours:
        method = Method(tableau, control, norm, rtol, atol, steps, max_steps, per_sample)
    problem = Problem(
        f,
        y0,
        ts,
        clock,
        args,
        rtol,
        atol,
        method,
        adjoint,
        solver,
        control,
        norm,
        steps,
        max_steps,
        per_sample,
        shared_times,
    )
    return problem, given


def _checked_state(y0: PyTree) -> tuple[PyTree, Any]:
    leaves = jax.tree.leaves(y0)
    if not leaves:
        raise ValueError("y0 has no arrays")
    y0 = jax.tree.map(jnp.asarray, y0)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(y0)}
    wrong = [d for d in dtypes if not jnp.issubdtype(d, jnp.floating)]
    if wrong:
        raise TypeError(f"y0 must be made of floating arrays, got {wrong[0]}: use y0.astype(float)")
    if len(dtypes) > 1:
        names = ", ".join(sorted(d.name for d in dtypes))
        raise TypeError(f"all arrays of y0 must have one dtype, got {names}")
    # A weak type would change on the first step.
    return jax.tree.map(lambda x: lax.convert_element_type(x, x.dtype), y0), dtypes.pop()


def _checked_times(
    ts: Any, y0: PyTree, dtype: Any, per_sample: bool, ours: bool
) -> tuple[Array | np.ndarray, Array, Clock]:
    # Diffrax would widen the state to the dtype of the times.
    given, since, clock, known = times_of(ts, dtype, narrow=not ours)
    if since.ndim not in ((1, 2) if per_sample else (1,)):
        wanted = "[T] or [batch, T]" if per_sample else "[T]"
        raise ValueError(f"ts must have shape {wanted}, got {list(since.shape)}")
    if per_sample:
        leading = {leaf.shape[:1] for leaf in jax.tree.leaves(y0)}
        if len(leading) != 1 or () in leading:
            raise ValueError(
                'with stepping="per_sample" every array of y0 needs the same leading axis (the '
                f"samples), got shapes {[leaf.shape for leaf in jax.tree.leaves(y0)]}"
            )
        if since.ndim == 2 and since.shape[:1] not in leading:
            raise ValueError(f"ts has {since.shape[0]} rows, but y0 has {leading.pop()[0]} samples")
    if known is not None:
        gaps = np.diff(known, axis=-1)
        if not np.all(np.all(gaps >= 0, axis=-1) | np.all(gaps <= 0, axis=-1)):
            raise ValueError(f"ts must be all increasing or all decreasing, got {given}")
    return given, since, clock


def _tolerance(name: str, value: Any, dtype: Any) -> Array:
    value = jnp.asarray(value)
    if value.ndim != 0:
        raise ValueError(f"{name} must be one number, got shape {list(value.shape)}")
    if not isinstance(value, Tracer) and not float(value) > 0:
        raise ValueError(f"{name} must be positive, got {float(value)}")
    return lax.stop_gradient(value.astype(dtype))


def field_of(problem: Problem) -> tuple[PyTree, Field]:
    """All arrays that `f` reads, and a field over lanes that takes them as its last argument.

    `f` is traced here, once: what follows evaluates its jaxpr.
    """
    arrays, static = eqx.partition((problem.f, problem.args), eqx.is_array)

    def evaluate(t: Array, y: PyTree, arrays: PyTree) -> PyTree:
        f, args = eqx.combine(arrays, static)
        return f(t, y, args)

    t, y = problem.clock.time(problem.ts[..., 0]), problem.y0
    if problem.per_sample:
        t, y = t[0], jax.tree.map(lambda x: x[0], y)
    _check_field(evaluate, t, y, arrays)
    closed = eqx.filter_closure_convert(evaluate, t, y, arrays)
    params, rest = eqx.partition((closed, arrays), eqx.is_array)

    def field(t: Array, y: PyTree, params: PyTree) -> PyTree:
        closed, arrays = eqx.combine(params, rest)
        if problem.per_sample:
            return jax.vmap(lambda t, y: closed(t, y, arrays))(t, y)
        return closed(t, y, arrays)

    return params, field


def _check_field(evaluate: Callable, t: Array, y: PyTree, arrays: PyTree) -> None:
    got = jax.eval_shape(evaluate, t, y, arrays)
    want = jax.eval_shape(lambda y: y, y)
    if jax.tree.structure(got) != jax.tree.structure(want):
        raise ValueError(
            f"f must return the structure of y, {jax.tree.structure(want)}, "
            f"got {jax.tree.structure(got)}"
        )
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if (g.shape, g.dtype) != (w.shape, w.dtype):
            raise ValueError(
                f"f must return what y is, {w.dtype}{list(w.shape)}, got {g.dtype}{list(g.shape)}"
            )
