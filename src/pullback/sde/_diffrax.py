"""Solves that are handed to Diffrax: steps that adapt, and solvers that we do not write."""

from collections.abc import Callable
from typing import NamedTuple, cast

import diffrax
import jax
import jax.numpy as jnp
import lineax
from jaxtyping import Array, PyTree

from pullback.ode import Replay, Stats
from pullback.ode._diffrax import _code as code_of
from pullback.ode._diffrax import _reached as reached

from ._grid import grid_of
from ._noise import increment_shapes, leaves_of, times_increment
from ._problem import Problem, Traced

# Steps that adapt are no shorter than this share of the whole time.
_SHORTEST = 2.0**-16


class Answer(NamedTuple):
    """What Diffrax found."""

    ys: PyTree
    kl: Array | None
    code: Array
    t_reached: Array
    stats: Stats


def solve_with_diffrax(problem: Problem, traced: Traced) -> Answer:
    """Solve by `diffrax.diffeqsolve` on a virtual Brownian tree."""
    if problem.path is not None or problem.key is None:
        raise ValueError("path=... needs fixed steps and a solver that pullback runs itself")
    if traced.kl_shape is not None and problem.kl != "analytic":
        raise ValueError(
            f'kl="{problem.kl}" needs fixed steps (dt=... or steps=...) and a solver that pullback '
            'runs itself, such as diffrax.Euler(); with these steps use kl="analytic"'
        )
    ts = problem.ts
    controller, shortest, max_steps = _controller(problem)
    drift, control, shape = _terms(problem, traced)
    path = diffrax.VirtualBrownianTree(
        t0=ts[0],
        t1=ts[-1],
        # Above the steps' own size the tree is smooth, and the variance silently wrong.
        tol=shortest / 4,
        shape=shape,
        key=problem.key,
        levy_area=_levy_area(problem.solver),
    )
    zero = None if traced.kl_shape is None else jnp.zeros(traced.kl_shape, ts.dtype)
    replay = isinstance(problem.adjoint, Replay)
    sol = diffrax.diffeqsolve(
        diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(control, path)),
        problem.solver,
        t0=ts[0],
        t1=ts[-1],
        dt0=None,
        y0=(problem.y0, zero),
        args=traced.params,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=controller,
        adjoint=diffrax.RecursiveCheckpointAdjoint() if replay else diffrax.BacksolveAdjoint(),
        max_steps=max_steps,
        throw=False,
    )
    accepted, rejected = (
        jnp.asarray(sol.stats[f"num_{kind}_steps"]) for kind in ("accepted", "rejected")
    )
    ys, kl = cast(tuple, sol.ys)
    stats = Stats(jnp.full_like(accepted, -1), accepted, rejected)
    return Answer(ys, kl, code_of(sol.result), reached(sol), stats)


def _levy_area(solver: diffrax.AbstractSolver) -> type:
    """The least that the path must tell of its Levy area for `solver`."""
    least = getattr(solver, "minimal_levy_area", diffrax.AbstractBrownianIncrement)
    for kind in (diffrax.SpaceTimeTimeLevyArea, diffrax.SpaceTimeLevyArea):
        if issubclass(least, kind.__mro__[1]):
            return kind
    return diffrax.BrownianIncrement


def _controller(problem: Problem) -> tuple[diffrax.AbstractStepSizeController, Array, int]:
    """How to step, the shortest step, and the most steps."""
    ts = problem.ts
    if problem.rtol is None or problem.atol is None:
        grid = grid_of(ts, problem.dt, problem.steps)
        nodes = jnp.concatenate([grid.t, ts[-1:]])
        return diffrax.StepTo(ts=nodes), jnp.min(grid.dt), grid.t.shape[0] + 1
    shortest = (ts[-1] - ts[0]) * _SHORTEST
    controller = diffrax.PIDController(
        rtol=problem.rtol,
        atol=problem.atol,
        # Gentler than for ODEs, as a rough path wants: Diffrax's own advice for SDEs.
        pcoeff=0.1,
        icoeff=0.3,
        dcoeff=0.0,
        dtmin=shortest,
        force_dtmin=False,
    )
    return controller, shortest, problem.max_steps


def _terms(problem: Problem, traced: Traced) -> tuple[Callable, Callable, PyTree]:
    """Drift and control on the state `(y, kl)`, and the shape of the Brownian motion."""
    equation, y0, sigma0 = traced.equation, problem.y0, traced.sigma
    with_kl = traced.kl_shape is not None

    def drift(t: Array, state: tuple, params: PyTree) -> tuple:
        y, _ = state
        rate = equation.kl_increment(t, y, params, jnp.ones_like(t), []) if with_kl else None
        return equation.drift(t, y, params), rate

    shapes = increment_shapes(y0, sigma0)
    kept = [s for s in shapes if s is not None]
    pairs = zip(jax.tree.leaves(y0), leaves_of(y0, sigma0), strict=True)
    if not with_kl and all(s is not None and s.ndim == y.ndim for y, s in pairs):
        # Some methods take this form alone.
        def diagonal(t: Array, state: tuple, params: PyTree) -> lineax.AbstractLinearOperator:
            return lineax.DiagonalLinearOperator((equation.diffusion(t, state[0], params), None))

        return drift, diagonal, (jax.tree.structure(y0).unflatten(kept), None)

    def control(t: Array, state: tuple, params: PyTree) -> lineax.AbstractLinearOperator:
        y, kl = state
        leaves, structure = jax.tree.flatten(y)
        sigma = equation.diffusion(t, y, params)

        def product(noise: list[Array]) -> tuple:
            drawn = iter(noise)
            increments = [None if s is None else next(drawn) for s in shapes]
            products = times_increment(y, sigma, increments)
            filled = [
                jnp.zeros_like(x) if p is None else p for x, p in zip(leaves, products, strict=True)
            ]
            return structure.unflatten(filled), None if kl is None else jnp.zeros_like(kl)

        return lineax.FunctionLinearOperator(product, kept)

    return drift, control, kept
