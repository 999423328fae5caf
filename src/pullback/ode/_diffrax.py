"""Solves that are handed to Diffrax: implicit, symplectic and other methods, and its adjoints."""

from collections.abc import Callable
from functools import partial
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from pullback._clock import Clock

from ._control import PID, Norm
from ._field import TracedField
from ._result import Result, Stats
from ._runge_kutta import tableau_of


def solve_with_diffrax(
    field: TracedField,
    y0: PyTree,
    ts: Float[Array, "*lanes times"],
    clock: Clock,
    *,
    solver: diffrax.AbstractSolver,
    adjoint: diffrax.AbstractAdjoint,
    rtol: Array,
    atol: Array,
    control: PID,
    norm: Norm,
    steps: int | None,
    max_steps: int,
    per_sample: bool,
) -> tuple[PyTree, Array, Array, Stats]:
    """The values at `ts`, the result code, the time reached and the cost."""
    # Not a part of the term, or Diffrax would differentiate it twice.
    params, field = field.params, eqx.tree_at(lambda f: f.params, field, ([], [], []))

    def still(ys: PyTree, y0: PyTree, ts: Array, clock: Clock) -> PyTree:
        """With no step taken, Diffrax does not know that $y(t_i) = y_0 + (t_i - t_0) f$."""
        rise = lambda y, k: y + jnp.tensordot((ts - ts[0]).astype(k.dtype), k, axes=0)
        return jax.tree.map(rise, ys, field(clock.time(ts[0]), y0, params))

    def one(y0: PyTree, ts: Array, clock: Clock) -> tuple[PyTree, Array, Array, Stats]:
        # Diffrax raises, whatever `throw` says, where times are out of order.
        gaps = jnp.diff(ts) * jnp.sign(ts[-1] - ts[0])
        ordered = jnp.all(jnp.isfinite(ts)) & jnp.all(gaps >= 0)
        ordered &= (ts[-1] != ts[0]) | jnp.all(ts == ts[0])
        # It would try every step from a start that is not finite.
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(y)) for y in jax.tree.leaves(y0)]))
        ts = jnp.where(ordered & finite, ts, 0.0)
        if steps is None:
            controller = diffrax.PIDController(
                rtol=rtol,
                atol=atol,
                norm=norm,
                pcoeff=control.pcoeff,
                icoeff=control.icoeff,
                dcoeff=control.dcoeff,
                safety=control.safety,
                factormin=control.factormin,
                factormax=control.factormax,
            )
        else:
            controller = _StepThrough(nodes=_nodes(ts, steps), rtol=rtol, atol=atol, norm=norm)
        # It takes the times alone.
        continuous = isinstance(adjoint, diffrax.BacksolveAdjoint)
        sol = diffrax.diffeqsolve(
            diffrax.ODETerm(_OnClock(field, clock, jax.tree.leaves(y0)[0].dtype)),
            solver,
            t0=ts[0],
            t1=ts[-1],
            dt0=None,
            y0=y0,
            args=params,
            saveat=diffrax.SaveAt(ts=ts, t1=not continuous),
            stepsize_controller=controller,
            adjoint=adjoint,
            # Fixed steps know their number; Diffrax counts the one that finds the end too.
            max_steps=max_steps if steps is None else max_steps + 1,
            throw=False,
        )
        code = _code(sol.result)
        arrived = code == Result.SUCCESSFUL
        ys = sol.ys if continuous else jax.tree.map(partial(_ended, ts, arrived), sol.ys)
        # Diffrax widens a state of half precision to the dtype of the times.
        ys = jax.tree.map(lambda y, like: y.astype(like.dtype), ys, y0)
        ys = lax.cond(ts[-1] == ts[0], still, lambda ys, *_: ys, ys, y0, ts, clock)
        # What was not reached is infinite, which looks like an answer.
        seen = lambda y: jnp.where(ordered & jnp.isfinite(y), y, jnp.nan)
        ys = jax.tree.map(seen, ys)
        # Fixed steps go on with what is not finite, and Diffrax does not say so.
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(y)) for y in jax.tree.leaves(ys)]))
        lost = (code == Result.SUCCESSFUL) & ~finite
        code = jnp.where(lost, int(Result.NON_FINITE), code)
        code = jnp.where(ordered, code, int(Result.TIMES_NOT_MONOTONE)).astype(jnp.int32)
        return ys, code, clock.reached(_reached(sol)), _stats(solver, sol.stats)

    if per_sample:
        return jax.vmap(one)(y0, ts, clock)
    return one(y0, ts, clock)


class _OnClock(eqx.Module):
    """The field of the time since the first, in which Diffrax solves."""

    field: TracedField
    clock: Clock
    # Of the state, which Diffrax makes as wide as the times, as half precision is not.
    dtype: Any = eqx.field(static=True)

    def __call__(self, since: Any, y: PyTree, params: PyTree) -> PyTree:
        """The field."""
        return self._in_its_dtype(self.field, since, y, params)

    @property
    def with_diagonal(self) -> Callable:
        """The field and its diagonal, where the field has them."""
        return partial(self._in_its_dtype, self.field.with_diagonal)

    def _in_its_dtype(
        self, field: Callable, since: Array, y: PyTree, params: PyTree, **order: int
    ) -> PyTree:
        wide = jax.tree.leaves(y)[0].dtype
        cast = lambda tree, dtype: jax.tree.map(lambda x: x.astype(dtype), tree)
        return cast(field(self.clock.time(since), cast(y, self.dtype), params, **order), wide)


def _ended(ts: Array, arrived: Array, y: Array) -> Array:
    """The values at `ts`, then at the end, as those at `ts`.

    The last step's interpolation need not end where the step does, where a solver wraps another.
    """
    y, end = y[:-1], y[-1]
    last = jnp.reshape(ts == ts[-1], (-1,) + (1,) * end.ndim) & (ts[-1] != ts[0]) & arrived
    y = y + jnp.where(last, lax.stop_gradient(end[None] - y), 0.0)
    return y.at[-1].set(jnp.where(arrived, end, y[-1]))


def _nodes(ts: Float[Array, " times"], steps: int) -> Float[Array, " nodes"]:
    """`steps` equal steps between two successive times, then those of no length, at the last."""
    within = jnp.arange(steps, dtype=ts.dtype) / steps
    nodes = ts[:-1, None] + within[None] * (ts[1:] - ts[:-1])[:, None]
    nodes = jnp.concatenate([nodes.ravel(), ts[-1:]])
    kept = jnp.concatenate([jnp.ones(1, bool), nodes[1:] != nodes[:-1]])
    order = jnp.argsort(~kept, stable=True)
    return jnp.where(kept, nodes, ts[-1])[order]


class _StepThrough(diffrax.AbstractAdaptiveStepSizeController):
    """Steps that end at each of `nodes`. Unlike `diffrax.StepTo` it takes any number of them, and
    has tolerances, for the equations of an implicit method.
    """

    nodes: Float[Array, " nodes"]
    rtol: Array
    atol: Array
    norm: Norm

    def wrap(self, direction: Any) -> "_StepThrough":
        """The nodes in the direction of the solve."""
        return eqx.tree_at(lambda s: s.nodes, self, self.nodes * direction)

    def init(
        self,
        terms: PyTree,
        t0: Any,
        t1: Any,
        y0: Any,
        dt0: None,
        args: PyTree,
        func: Callable,
        error_order: Any,
    ) -> tuple[Array, Array]:
        """The end of the first step, and the number of the next."""
        return self.nodes[1], jnp.asarray(2)

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: PyTree,
        y_error: Any,
        error_order: Any,
        controller_state: Array,
    ) -> tuple:
        """Every step passes."""
        following = self.nodes[controller_state]
        return True, t1, following, False, controller_state + 1, diffrax.RESULTS.successful


def _code(result: diffrax.RESULTS) -> Array:
    def match(code: Array, reasons: tuple, ours: Result) -> Array:
        hit = jnp.zeros((), bool)
        for reason in reasons:
            hit |= result == reason
        return jnp.where(hit, int(ours), code)

    code = jnp.asarray(int(Result.SOLVER_FAILED))
    code = match(code, (diffrax.RESULTS.successful,), Result.SUCCESSFUL)
    code = match(code, (diffrax.RESULTS.max_steps_reached,), Result.MAX_STEPS_REACHED)
    code = match(code, (diffrax.RESULTS.dt_min_reached,), Result.STEP_UNDERFLOW)
    return code.astype(jnp.int32)


def _reached(sol: diffrax.Solution) -> Array:
    """The last of the times asked for whose value is finite: Diffrax reports no other."""
    leaf = jax.tree.leaves(sol.ys)[0]
    finite = jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))
    last = jnp.maximum(jnp.sum(jnp.cumprod(finite.astype(jnp.int32))) - 1, 0)
    return jnp.asarray(sol.ts)[last]


def _stats(solver: diffrax.AbstractSolver, stats: dict) -> Stats:
    accepted, rejected = stats["num_accepted_steps"], stats["num_rejected_steps"]
    tableau = tableau_of(solver)
    attempts = jnp.asarray(accepted + rejected)
    if tableau is None:
        nfe = jnp.full_like(attempts, -1)
    else:
        nfe = 2 + tableau.evaluations * attempts
    return Stats(nfe=nfe, accepted=jnp.asarray(accepted), rejected=jnp.asarray(rejected))
