"""A checked problem, solved: by the loop and its adjoint, or by Diffrax."""

from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, PyTree

from pullback._linear import by_two
from pullback._modes import no_second, refuse_reverse, refuse_times

from ._adjoint import AbstractAdjoint
from ._complex import joined
from ._differentiable import Static, differentiable
from ._diffrax import solve_with_diffrax
from ._jumps import picked
from ._method import Path
from ._problem import Problem
from ._replay import Replay
from ._result import Result, Stats


class Answer(NamedTuple):
    """A `Solution` but for its times."""

    ys: PyTree
    stats: Stats
    result: Array
    t_reached: Array


@eqx.filter_jit
def run(problem: Problem) -> Answer:
    """The answer, and its derivatives in each mode."""
    if problem.method is None:
        return _solve_with_diffrax(problem)
    problem = problem.with_jumps()
    method = problem.method
    inputs = problem.field.params, problem.y0, problem.ts
    field = Static(problem.field.over_lanes(problem.per_sample))
    path = differentiable(inputs, method, problem.adjoint, problem.clock, field)
    return answer_of(problem, path)


def reached_times(problem: Problem, path: Path) -> Bool[Array, "times *lanes"]:
    """Which times the solve got to."""
    ts = problem.ts
    direction = jnp.sign(ts[..., -1] - ts[..., 0])[..., None]
    reached = direction * ts <= direction * lax.stop_gradient(path.t)[..., None]
    reached |= (path.code == Result.SUCCESSFUL)[..., None]
    return jnp.moveaxis(reached, -1, 0)


def answer_of(problem: Problem, path: Path) -> Answer:
    """The answer of a path."""
    # What was not reached is NaN, never a number that looks like an answer.
    reached, ys = reached_times(problem, path), path.ys
    if problem.rows is not None:
        reached, ys = picked((reached, ys), problem.rows)

    def mask(y: Array) -> Array:
        seen = jnp.reshape(reached, reached.shape + (1,) * (y.ndim - reached.ndim))
        y = jnp.where(seen, y, jnp.nan)
        return jnp.moveaxis(y, 0, 1) if problem.per_sample else y

    return Answer(
        joined(jax.tree.map(mask, ys)),
        Stats(nfe=path.nfe, accepted=path.accepted, rejected=path.rejected),
        path.code,
        lax.stop_gradient(problem.clock.reached(path.t)),
    )


def _solve_with_diffrax(problem: Problem) -> Answer:
    adjoint = problem.adjoint
    if isinstance(adjoint, AbstractAdjoint):
        if not isinstance(adjoint, Replay):
            raise ValueError(
                f"{type(adjoint).__name__} runs with explicit Runge-Kutta methods; with "
                f"{type(problem.solver).__name__} use diffrax.BacksolveAdjoint(), or leave it out"
            )
        adjoint = diffrax.RecursiveCheckpointAdjoint()
    problem = eqx.tree_at(lambda p: p.adjoint, problem, adjoint)
    inputs = problem.field.params, problem.y0, (problem.ts, problem.jumps)
    if isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint | diffrax.BacksolveAdjoint):
        if isinstance(adjoint, diffrax.BacksolveAdjoint):
            times = jax.tree.map(lambda x: refuse_times(x, adjoint), (problem.ts, problem.jumps))
            inputs = (*inputs[:2], times)
        ys, (code, t, stats) = by_two(
            inputs, _by_diffrax, _forward_by_diffrax, problem, no_second(adjoint)
        )
    else:
        ys, (code, t, stats) = _by_diffrax(inputs, problem)
    if isinstance(adjoint, diffrax.ForwardMode):
        ys = refuse_reverse(ys, adjoint)
    return Answer(joined(ys), stats, code, t)


def _forward_by_diffrax(inputs: tuple, problem: Problem) -> tuple[PyTree, tuple]:
    adjoint = diffrax.ForwardMode()
    return _by_diffrax(inputs, eqx.tree_at(lambda p: p.adjoint, problem, adjoint))


def _by_diffrax(inputs: tuple, problem: Problem) -> tuple[PyTree, tuple]:
    params, y0, (ts, jumps) = inputs
    ys, *rest = solve_with_diffrax(
        eqx.tree_at(lambda field: field.params, problem.field, params),
        y0,
        ts,
        problem.clock,
        solver=problem.solver,
        adjoint=problem.adjoint,
        rtol=problem.rtol,
        atol=problem.atol,
        controller=problem.controller,
        norm=problem.norm,
        steps=problem.steps,
        max_steps=problem.max_steps,
        per_sample=problem.per_sample,
        dt0=problem.dt0,
        jumps=jumps,
    )
    return ys, tuple(rest)
