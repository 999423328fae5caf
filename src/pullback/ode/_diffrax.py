"""Solves that are handed to Diffrax: implicit, symplectic and other methods, and its adjoints."""

from collections.abc import Callable

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._control import PID, Norm
from ._result import Result, Stats
from ._runge_kutta import tableau_of


def solve_with_diffrax(
    f: Callable,
    y0: PyTree,
    ts: Float[Array, "*lanes times"],
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

    def one(y0: PyTree, ts: Array) -> tuple[PyTree, Array, Array, Stats]:
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
            within = jnp.arange(steps, dtype=ts.dtype) / steps
            nodes = ts[:-1, None] + within[None] * (ts[1:] - ts[:-1])[:, None]
            controller = diffrax.StepTo(ts=jnp.concatenate([nodes.ravel(), ts[-1:]]))
        sol = diffrax.diffeqsolve(
            diffrax.ODETerm(f),
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
        return sol.ys, _code(sol.result), _reached(sol), _stats(solver, sol.stats)

    if per_sample:
        return jax.vmap(one)(y0, ts)
    return one(y0, ts)


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
