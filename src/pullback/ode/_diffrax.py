"""Solves that are handed to Diffrax: implicit, symplectic and other methods, and its adjoints."""

from collections.abc import Callable
from functools import partial
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix
from jax import lax
from jaxtyping import Array, Float, PyTree

from pullback._clock import Clock
from pullback._nodes import Nodes

from ._complex import is_pair, sizes
from ._control import Norm, PIDController
from ._field import TracedField
from ._jumps import Jumps, ordered
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
    rtol: PyTree,
    atol: PyTree,
    controller: PIDController,
    norm: Norm,
    steps: int | None,
    max_steps: int,
    per_sample: bool,
    dt0: Array | None,
    jumps: Jumps | None,
) -> tuple[PyTree, Array, Array, Stats]:
    """The values at `ts`, the result code, the time reached and the cost."""
    if not (isinstance(rtol, Array) and isinstance(atol, Array) and rtol.ndim == atol.ndim == 0):
        raise ValueError(
            f"{type(solver).__name__} is run by Diffrax, which has one rtol and one atol: give "
            "numbers, and weigh the leaves by norm=, which takes the error over the tolerance; an "
            "explicit solver takes tolerances for each leaf"
        )
    if any(is_pair(leaf) for leaf in jax.tree.leaves(y0, is_leaf=is_pair)):
        norm = _OfSizes(norm)
    # Not a part of the term, or Diffrax would differentiate it twice.
    params, field = field.params, eqx.tree_at(lambda f: f.params, field, ([], [], []))

    def still(ys: PyTree, y0: PyTree, ts: Array, clock: Clock) -> PyTree:
        """With no step taken, Diffrax does not know that $y(t_i) = y_0 + (t_i - t_0) f$."""
        rise = lambda y, k: y + jnp.tensordot((ts - ts[0]).astype(k.dtype), k, axes=0)
        return jax.tree.map(rise, ys, field(clock.time(ts[0]), y0, params))

    if jumps is not None:
        since, counts, clock = ordered(ts, jumps, clock)
        beyond = jnp.where(ts[..., -1:] < ts[..., :1], -jnp.inf, jnp.inf).astype(since.dtype)
        at = jnp.where(counts, since, beyond)
    else:
        at = None

    def one(
        y0: PyTree, ts: Array, clock: Clock, at: Array | None
    ) -> tuple[PyTree, Array, Array, Stats]:
        # Diffrax raises, whatever `throw` says, where times are out of order.
        gaps = jnp.diff(ts) * jnp.sign(ts[-1] - ts[0])
        ordered = jnp.all(jnp.isfinite(ts)) & jnp.all(gaps >= 0)
        ordered &= (ts[-1] != ts[0]) | jnp.all(ts == ts[0])
        # It would try every step from a start that is not finite.
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(y)) for y in jax.tree.leaves(y0)]))
        ts = jnp.where(ordered & finite, ts, 0.0)
        if steps is None:
            stepsize_controller = diffrax.PIDController(
                rtol=rtol,
                atol=atol,
                norm=norm,
                pcoeff=controller.pcoeff,
                icoeff=controller.icoeff,
                dcoeff=controller.dcoeff,
                safety=controller.safety,
                factormin=controller.factormin,
                factormax=controller.factormax,
                dtmin=controller.dtmin,
                dtmax=controller.dtmax,
                force_dtmin=False,
            )
            if at is not None:
                stepsize_controller = diffrax.ClipStepSizeController(
                    stepsize_controller, jump_ts=at
                )
        else:
            stepsize_controller = Nodes(_nodes(ts, steps))
        # It takes the times alone.
        continuous = isinstance(adjoint, diffrax.BacksolveAdjoint)
        sol = diffrax.diffeqsolve(
            diffrax.ODETerm(_OnClock(field, clock, jax.tree.leaves(y0)[0].dtype)),
            _with_tolerances(solver, rtol=rtol, atol=atol, norm=norm),
            t0=ts[0],
            t1=ts[-1],
            dt0=None if dt0 is None else jnp.where(ts[-1] < ts[0], -dt0, dt0),
            y0=y0,
            args=params,
            saveat=diffrax.SaveAt(ts=ts, t1=not continuous),
            stepsize_controller=stepsize_controller,
            adjoint=adjoint,
            # Fixed steps know their number; Diffrax counts the one that finds the end too.
            max_steps=max_steps if steps is None else max_steps + 1,
            throw=False,
        )
        code = Result.from_diffrax(sol.result)
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
        each = jax.vmap(one)
        if ts.shape[0]:
            return each(y0, ts, clock, at)
        # Diffrax asks for the greatest of its lanes' numbers of steps.
        like = jax.eval_shape(each, y0, ts, clock, at)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
    return one(y0, ts, clock, at)


class _OfSizes(eqx.Module):
    """A norm to which a complex entry is one number."""

    norm: Norm

    def __call__(self, x: PyTree) -> Array:
        return self.norm(sizes(x))


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
    """`steps` equal steps between two successive times."""
    within = jnp.arange(steps, dtype=ts.dtype) / steps
    nodes = ts[:-1, None] + within[None] * (ts[1:] - ts[:-1])[:, None]
    return jnp.concatenate([nodes.ravel(), ts[-1:]])


# What a root finder has in place of tolerances that it is to have from the solve.
_OF_THE_SOLVE = diffrax.with_stepsize_controller_tols(optimistix.Chord)().rtol


def _with_tolerances(solver: Any, **tolerances: Any) -> Any:
    """The solver, the equations of whose stages are solved to these tolerances.

    Diffrax takes them from a controller, but only from one that adapts.
    """
    finder = getattr(solver, "root_finder", None)
    missing = [name for name in tolerances if getattr(finder, name, None) is _OF_THE_SOLVE]
    if not missing:
        return solver
    where = lambda s: [getattr(s.root_finder, name) for name in missing]
    return eqx.tree_at(where, solver, [tolerances[name] for name in missing])


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
