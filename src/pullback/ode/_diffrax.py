"""Solves that are handed to Diffrax: implicit, symplectic and other methods, and its adjoints."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from pullback._clock import Clock

from ._control import PID, Norm
from ._result import Result, Stats
from ._runge_kutta import OnClock, tableau_of


def solve_with_diffrax(
    f: Callable,
    y0: PyTree,
    ts: Float[Array, "*lanes times"],
    clock: Clock,
    args: PyTree,
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

    def still(ys: PyTree, y0: PyTree, ts: Array, clock: Clock) -> PyTree:
        """With no step taken, Diffrax does not know that $y(t_i) = y_0 + (t_i - t_0) f$."""
        rise = lambda y, k: y + jnp.tensordot((ts - ts[0]).astype(k.dtype), k, axes=0)
        return jax.tree.map(rise, ys, f(clock.time(ts[0]), y0, args))

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
        sol = diffrax.diffeqsolve(
            diffrax.ODETerm(OnClock(f, clock)),  # pyright: ignore[reportArgumentType]
            solver,
            t0=ts[0],
            t1=ts[-1],
            dt0=None,
            y0=y0,
            args=args,
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=controller,
            adjoint=adjoint,
            # Fixed steps know their number; Diffrax counts the one that finds the end too.
            max_steps=max_steps if steps is None else max_steps + 1,
            throw=False,
        )
        ys = lax.cond(ts[-1] == ts[0], still, lambda ys, *_: ys, sol.ys, y0, ts, clock)
        # Diffrax widens a state of half precision to the dtype of the times.
        ys = jax.tree.map(lambda y, like: jnp.where(ordered, y, jnp.nan).astype(like.dtype), ys, y0)
        code = _code(sol.result)
        # Fixed steps go on with what is not finite, and Diffrax does not say so.
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(y)) for y in jax.tree.leaves(ys)]))
        lost = (code == Result.SUCCESSFUL) & ~finite
        code = jnp.where(lost, int(Result.NON_FINITE), code)
        code = jnp.where(ordered, code, int(Result.TIMES_NOT_MONOTONE)).astype(jnp.int32)
        return ys, code, clock.reached(_reached(sol)), _stats(solver, sol.stats)

    if per_sample:
        return jax.vmap(one)(y0, ts, clock)
    return one(y0, ts, clock)


def _nodes(ts: Float[Array, " times"], steps: int) -> Float[Array, " nodes"]:
    """`steps` equal steps between two successive times, without those of no length.

    These are infinite, and come last.
    """
    within = jnp.arange(steps, dtype=ts.dtype) / steps
    nodes = ts[:-1, None] + within[None] * (ts[1:] - ts[:-1])[:, None]
    nodes = jnp.concatenate([nodes.ravel(), ts[-1:]])
    kept = jnp.concatenate([jnp.ones(1, bool), nodes[1:] != nodes[:-1]])
    order = jnp.argsort(~kept, stable=True)
    return jnp.where(kept, nodes, jnp.where(ts[-1] < ts[0], -jnp.inf, jnp.inf))[order]


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
