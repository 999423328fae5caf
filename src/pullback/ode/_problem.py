"""The arguments of a solve, checked."""

from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from pullback._clock import Clock, Times, marks_of, times_of, wider
from pullback._solve_arguments import check_callable, check_count, check_mesh, checked_state

from ._adjoint import AbstractAdjoint
from ._complex import as_pairs, joined_shapes
from ._control import Norm, PIDController, trace_norm
from ._field import TracedField, trace_field
from ._jumps import Jumps, merge
from ._method import Method
from ._replay import Replay
from ._runge_kutta import tableau_of
from ._sdirk import SDIRK
from ._tolerances import positive_number, tolerance_of

Stepping = Literal["joint", "per_sample"]


class Given(NamedTuple):
    """What the caller gave, for what is handed back: the times, and where arrays lay in f, args."""

    ts: Array | np.ndarray
    arrays: Any


class Problem(eqx.Module):
    """The arguments of a solve, checked. `method` is None when Diffrax is to run it."""

    field: TracedField
    y0: PyTree
    # Counted from the first, as all that follows counts them.
    ts: Array
    clock: Clock
    rtol: PyTree
    atol: PyTree
    method: Method | None
    adjoint: Any
    solver: diffrax.AbstractSolver
    controller: PIDController = eqx.field(static=True)
    norm: Norm
    steps: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    per_sample: bool = eqx.field(static=True)
    shared_times: bool = eqx.field(static=True)
    dt0: Array | None = None
    jumps: Jumps | None = None
    # Where the times asked for are among `ts`, where these are more.
    rows: Array | None = None

    def with_jumps(self) -> "Problem":
        """The problem whose times are those asked for and the jumps."""
        if self.jumps is None or self.method is None:
            return self
        merged = merge(self.ts, self.jumps, self.clock)
        return eqx.tree_at(
            lambda p: (p.ts, p.clock, p.rows, p.method.knots),
            self,
            (merged.ts, merged.clock, merged.rows, merged.knots),
            is_leaf=lambda x: x is None,
        )


def problem_of(
    f: Any,
    y0: PyTree,
    ts: Any,
    args: PyTree,
    *,
    solver: Any,
    rtol: Any,
    atol: Any,
    steps: Any,
    adjoint: Any,
    stepping: str,
    controller: Any,
    norm: Any,
    max_steps: Any,
    dt0: Any = None,
    jumps: Any = None,
) -> tuple[Problem, Given]:
    check_callable("f", f)
    if stepping not in ("joint", "per_sample"):
        raise ValueError(f'stepping must be "joint" or "per_sample", got {stepping!r}')
    per_sample = stepping == "per_sample"
    y0, dtype = checked_state(y0, complex_too=True)
    for name, tree in (("y0", y0), ("f", f), ("args", args)):
        check_mesh(name, tree)
    if steps is not None:
        check_count("steps", steps)
    check_count("max_steps", max_steps)
    rtol, atol = (
        tolerance_of(n, v, y0, dtype, per_sample) for n, v in (("rtol", rtol), ("atol", atol))
    )
    y0 = as_pairs(y0)
    _check_norm(norm)
    controller = PIDController() if controller is None else controller
    if not isinstance(controller, PIDController):
        raise TypeError(
            "controller must be pullback.ode.PIDController(...), with the coefficients of "
            f"Diffrax's PIDController; tolerances are rtol and atol of solve; got "
            f"{type(controller).__name__}"
        )
    solver = diffrax.Dopri5() if solver is None else solver
    adjoint = Replay() if adjoint is None else adjoint
    _check_solver(solver, adjoint, steps)
    tableau = tableau_of(solver)
    ours = tableau is not None and not isinstance(adjoint, diffrax.AbstractAdjoint)
    times = _checked_times(ts, y0, dtype, per_sample, ours)
    jumps = _checked_jumps(jumps, ts, times, y0 if per_sample else None)
    given, ts, clock = times.given, times.since, times.clock
    if jumps is not None and steps is not None and not ours:
        raise ValueError(
            "jumps with steps= takes an explicit Runge-Kutta method and Replay, Backsolve or "
            "DeferredPenalty: leave steps out, or put the jumps into ts and leave jumps out"
        )
    dt0 = _checked_first_step(dt0, steps, ts.dtype)
    shared_times = ts.ndim == 1
    if per_sample and shared_times:
        batch = jax.tree.leaves(y0)[0].shape[:1]
        ts, clock = jax.tree.map(lambda x: jnp.broadcast_to(x[None], batch + x.shape), (ts, clock))
    if steps is not None:
        jumped = 0 if jumps is None else jumps.since.shape[-1]
        max_steps = steps * (ts.shape[-1] + jumped - 1)
    # Of no number in them, so that there may be no sample.
    lane = lambda x: jax.ShapeDtypeStruct(x.shape[1:] if per_sample else x.shape, x.dtype)
    t, y = jax.tree.map(lane, (clock.time(ts[..., 0]), y0))
    # Diffrax widens a state of half precision.
    seen = dtype if ours else wider(jnp.float32, dtype)
    errors = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, seen), joined_shapes(y))
    norm = trace_norm(norm, errors)
    method = None
    if tableau is not None and ours:
        method = Method(
            tableau=tableau,
            controller=controller,
            norm=norm,
            rtol=rtol,
            atol=atol,
            steps=steps,
            max_steps=max_steps,
            per_sample=per_sample,
            dt0=dt0,
        )
    field, arrays = trace_field(f, args, t, y, diagonal=not ours)
    problem = Problem(
        field=field,
        y0=y0,
        ts=ts,
        clock=clock,
        rtol=rtol,
        atol=atol,
        method=method,
        adjoint=adjoint,
        solver=solver,
        controller=controller,
        norm=norm,
        steps=steps,
        max_steps=max_steps,
        per_sample=per_sample,
        shared_times=shared_times,
        dt0=dt0,
        jumps=jumps,
    )
    return problem, Given(given, arrays)


def _check_norm(norm: Any) -> None:
    if not callable(norm):
        raise TypeError(f"norm must be a function such as pullback.ode.rms_norm, got {norm!r}")


def _check_solver(solver: Any, adjoint: Any, steps: int | None) -> None:
    if not isinstance(solver, diffrax.AbstractSolver):
        raise TypeError(f"solver must be a Diffrax solver such as Dopri5(), got {solver!r}")
    name = type(solver).__name__
    if solver.term_structure is not diffrax.AbstractTerm:
        raise ValueError(
            f"solver {name} is not for dy/dt = f(t, y, args): it wants an equation in parts (a "
            "split, implicit-explicit or stochastic one). Use Dopri5(), or diffrax.Kvaerno5() for "
            "a stiff problem; stochastic equations are solved by pullback.sde.solve"
        )
    if isinstance(solver, diffrax.AbstractImplicitSolver) and not hasattr(solver, "root_finder"):
        raise ValueError(f"solver {name} cannot wrap an implicit method: give the method itself")
    if not isinstance(adjoint, AbstractAdjoint | diffrax.AbstractAdjoint):
        raise TypeError(
            f"adjoint must be Replay(), Backsolve(), DeferredPenalty() or one of Diffrax's, got "
            f"{adjoint!r}"
        )
    if isinstance(adjoint, diffrax.ImplicitAdjoint):
        raise ValueError(
            "adjoint ImplicitAdjoint() is for steady states, which solve does not look for: use "
            "Replay(), or Diffrax's RecursiveCheckpointAdjoint() or DirectAdjoint()"
        )
    if steps is None and not _estimates_its_error(solver):
        raise ValueError(f"solver {name} has no error estimate to adapt steps by: give steps=N")


def _estimates_its_error(solver: diffrax.AbstractSolver) -> bool:
    tableau = tableau_of(solver)
    if tableau is not None:
        return tableau.b_error is not None
    one_stage = isinstance(solver, SDIRK) and solver.stages == 1
    return isinstance(solver, diffrax.AbstractAdaptiveSolver) and not one_stage


def _checked_times(ts: Any, y0: PyTree, dtype: Any, per_sample: bool, ours: bool) -> Times:
    # Diffrax would widen the state to the dtype of the times.
    times = times_of(ts, dtype, narrow=not ours)
    given, since, _, known = times
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
    return times


def _checked_jumps(jumps: Any, ts: Any, times: Times, samples: PyTree) -> Jumps | None:
    if jumps is None:
        return None
    shape = np.shape(jumps)
    if len(shape) not in ((1,) if samples is None else (1, 2)):
        wanted = "[J]" if samples is None else "[J] or [batch, J]"
        raise ValueError(
            f"jumps must be an array of times of shape {wanted}, got {list(shape)}"
            + ("; with times for each sample give stepping='per_sample'" if len(shape) == 2 else "")
        )
    if shape[-1] == 0:
        return None
    if len(shape) == 2:
        batch = jax.tree.leaves(samples)[0].shape[0]
        if shape[0] != batch:
            raise ValueError(f"jumps has {shape[0]} rows, but y0 has {batch} samples")
    return Jumps(*marks_of("jumps", jumps, ts, times))


def _checked_first_step(dt0: Any, steps: int | None, dtype: Any) -> Array | None:
    if dt0 is None:
        return None
    if steps is not None:
        raise ValueError("dt0 is the first of steps that adapt: leave it out, or steps")
    return positive_number("dt0", dt0, dtype)
