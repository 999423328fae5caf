"""`vjp`: the backward pass of a solve, and its cost, in the hands of who asks."""

from collections.abc import Callable
from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact, PyTree, Real

from pullback._lanes import select, zeros_like

from ._adjoint import AbstractAdjoint, Pulled, checked_cotangent, checked_gradient, split
from ._complex import cotangent_as_pairs, cotangent_joined
from ._control import Norm, PIDController, rms_norm
from ._differentiable import Given, Static, outputs
from ._jumps import Jumps, merge, picked
from ._problem import Problem, Stepping, problem_of
from ._result import Solution, Stats
from ._run import Answer, answer_of, reached_times
from ._runge_kutta import OnClock


class Gradients(NamedTuple):
    """What `vjp` pulls back to. Leaves that cannot be differentiated are None."""

    f: PyTree
    y0: PyTree
    ts: Float[Array, "..."]
    args: PyTree
    jumps: Float[Array, "..."] | None = None


def vjp(
    f: Callable[[Float[Array, ""], PyTree, PyTree], PyTree],
    y0: PyTree[Inexact[ArrayLike, "..."]],
    ts: Real[ArrayLike, "..."] | list | tuple,
    args: PyTree = None,
    *,
    solver: diffrax.AbstractSolver | None = None,
    rtol: PyTree[Float[ArrayLike, "..."]] = 1e-4,
    atol: PyTree[Float[ArrayLike, "..."]] = 1e-6,
    steps: int | None = None,
    jumps: Real[ArrayLike, "..."] | list | tuple | None = None,
    dt0: float | Float[ArrayLike, ""] | None = None,
    adjoint: AbstractAdjoint | None = None,
    stepping: Stepping = "joint",
    controller: PIDController | None = None,
    norm: Norm = rms_norm,
    max_steps: int = 4096,
) -> tuple[Solution, Callable[[PyTree], tuple[Gradients, Stats]]]:
    """Solve, and return the map that pulls a cotangent of `ys` back, with what that costs.

    `jax.grad` of `solve` gives the same gradients; this also tells the number of evaluations of
    the backward pass, which for `Backsolve` is known only when it has run. It does not raise when
    a solve fails: look at `Solution.result`.

    Args:
        f, y0, ts, args, solver, rtol, atol, steps, jumps: as in `solve`.
        dt0, stepping, controller, norm, max_steps: as in `solve`.
        adjoint: `Replay()` (the default), `Backsolve()` or `DeferredPenalty()`.

    Returns:
        The solution, and a function from a cotangent shaped like `Solution.ys` to `Gradients` and
        the `Stats` of the backward pass.

    Raises:
        ValueError: as `solve`; also when the solver or the adjoint is one that Diffrax runs, or a
            cotangent is not like `Solution.ys`.

    Example:
        >>> import jax.numpy as jnp, pullback as pb
        >>> growth = lambda t, y, rate: rate * y
        >>> sol, pull = pb.ode.vjp(growth, jnp.array(1.0), [0.0, 1.0], jnp.array(0.5))
        >>> grads, stats = pull(jnp.array([0.0, 1.0]))
        >>> bool(abs(grads.args - jnp.exp(0.5)) < 1e-3)
        True
        >>> int(stats.accepted) == int(sol.stats.accepted)
        True

    Source: Chen et al. (2018), section 2.
    """
    problem, given = problem_of(
        f,
        y0,
        ts,
        args,
        solver=solver,
        rtol=rtol,
        atol=atol,
        steps=steps,
        jumps=jumps,
        dt0=dt0,
        adjoint=adjoint,
        stepping=stepping,
        controller=controller,
        norm=norm,
        max_steps=max_steps,
    )
    if problem.method is None or isinstance(problem.adjoint, diffrax.AbstractAdjoint):
        raise ValueError(
            "vjp runs pullback's own loop: give an explicit solver, Replay or Backsolve"
        )
    answer, reached, residuals = _forward(problem)

    def pull(cotangent: PyTree) -> tuple[Gradients, Stats]:
        cotangent = cotangent_as_pairs(checked_cotangent(cotangent, answer.ys))
        pulled, jumps_bar = _backward(problem, residuals, reached, cotangent)
        _, arrays, _ = cotangent_joined(pulled.params)
        f_bar, args_bar = jax.tree.unflatten(given.arrays, arrays)
        y0_bar, ts_bar = cotangent_joined(pulled.y0), pulled.ts.astype(given.ts.dtype)
        return Gradients(f_bar, y0_bar, ts_bar, args_bar, jumps_bar), pulled.stats

    return Solution(given.ts, *answer), pull


@eqx.filter_jit
def _forward(problem: Problem) -> tuple[Answer, Array, PyTree]:
    problem = problem.with_jumps()
    field = OnClock(problem.field.over_lanes(problem.per_sample), problem.clock)
    path, residuals = problem.adjoint.forward(
        problem.method, field, problem.y0, problem.ts, problem.field.params
    )
    path = outputs(path, problem.y0)
    return answer_of(problem, path), reached_times(problem, path), residuals


@eqx.filter_jit
def _backward(
    problem: Problem, residuals: PyTree, reached: Array, cotangent: PyTree
) -> tuple[Pulled, Array | None]:
    given = problem.ts, None if problem.jumps is None else problem.jumps.since
    shared, problem = problem, problem.with_jumps()
    field = Static(problem.field.over_lanes(problem.per_sample))
    wanted, rest = split(problem.field.params)
    if problem.per_sample:
        cotangent = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), cotangent)
    if problem.rows is not None:
        like = jax.tree.map(
            lambda y: jnp.zeros((problem.ts.shape[-1], *y.shape), y.dtype), problem.y0
        )
        _, spread_out = jax.vjp(lambda ys: picked(ys, problem.rows), like)
        (cotangent,) = spread_out(cotangent)
    # What was not reached is NaN, whatever it would have been.
    cotangent = jax.vmap(select)(reached, cotangent, zeros_like(cotangent))
    pulled = problem.adjoint.backward(
        problem.method,
        OnClock(Given(field, rest), problem.clock),
        residuals,
        problem.ts,
        wanted,
        cotangent,
        times_too=True,
    )
    pulled = checked_gradient(problem.adjoint, pulled, problem.y0, problem.ts, wanted)
    jumps_bar = None
    if shared.jumps is not None:
        clock, times = shared.clock, shared.jumps.times
        _, pull = jax.vjp(lambda ts, at: merge(ts, Jumps(at, times), clock).ts, *given)
        ts_bar, jumps_bar = pull(pulled.ts)
        pulled = pulled._replace(ts=ts_bar)
    if problem.per_sample and problem.shared_times:
        pulled = pulled._replace(ts=jnp.sum(pulled.ts, axis=0))
    return pulled, jumps_bar
