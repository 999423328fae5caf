"""`solve`, and `vjp` for those who want the backward pass and its cost in their own hands."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, PyTree, Real

from pullback._lanes import select, zeros_like
from pullback._linear import by_two
from pullback._modes import no_second, refuse_reverse, refuse_times

from ._adjoint import AbstractAdjoint, Pulled, checked_cotangent, checked_gradient, split
from ._complex import cotangent_as_pairs, cotangent_joined, joined
from ._control import Norm, PIDController, rms_norm
from ._differentiable import Given, Static, differentiable, outputs
from ._diffrax import solve_with_diffrax
from ._event import Event, watched
from ._jumps import Jumps, merge, picked
from ._method import Path
from ._problem import Problem, problem_of
from ._replay import Replay
from ._result import Result, Solution, Stats, raise_if_failed
from ._runge_kutta import OnClock
from ._until import stopped

Stepping = Literal["joint", "per_sample"]


def solve(
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
    event: Event | tuple[Event, ...] | None = None,
    adjoint: AbstractAdjoint | diffrax.AbstractAdjoint | None = None,
    stepping: Stepping = "joint",
    controller: PIDController | None = None,
    norm: Norm = rms_norm,
    max_steps: int = 4096,
    throw: bool = True,
) -> Solution:
    r"""Solve the initial value problem $dy/dt = f(t, y, \text{args})$, $y(t_0) = y_0$.

    Adaptive steps go by what they see of `f`: a pulse that is shorter than a step may be passed
    over in silence, even where its edges are in `ts`, at which no step stops. Give the edges as
    `jumps`, as the second example does. There a step ends and the next one begins, and neither
    sees the other side: `f` is never evaluated at a jump itself, so that `jnp.where(t < edge, a,
    b)` and `t <= edge` give the same. What is constant between jumps is solved exactly but for
    rounding.

    Gradients flow to `y0`, `args`, `ts`, `jumps`, the parameters of `f` when it is a module, and
    arrays that `f` closes over, in reverse mode and in forward mode (`jax.jvp`, `jax.jacfwd`,
    `jax.linearize`). That of a jump is $a^\top (f^- - f^+)$, the cotangent of the state there by
    how much `f` falls: what an edge that is moved does. `f` is traced at each call, so it may read
    what changes: an array is an input of the compiled program, whatever else changes (a number in a
    list) compiles another, and costs seconds; give such numbers as `args`. What `f` calls under a
    `jax.jit` of its own is frozen there, and so is the rule of a `jax.custom_jvp` or
    `jax.custom_vjp`. A call outside of `jax.jit` spends a millisecond or a few on the trace;
    inside, none at run time.

    Args:
        f: the vector field `f(t, y, args)`; its value has the structure, shapes and dtype of `y`.
            With `stepping="per_sample"` it is written for one sample, without the leading axis.
        y0: the start: any PyTree of floating or complex arrays, all of one precision. `f` sees
            complex arrays as such; what is solved for is their real and imaginary parts, and the
            modulus of their error counts.
        ts: the times at which the solution is wanted, `[T]` with `T >= 2`, increasing or
            decreasing; the first is the time of `y0`. With per-sample steps also `[batch, T]`.
        args: any PyTree, handed to `f`.
        solver: a Diffrax solver; `diffrax.Dopri5()` when None. Explicit Runge-Kutta methods
            (`Euler`, `Heun`, `Midpoint`, `Ralston`, `Bosh3`, `Dopri5`, `Tsit5`, `Dopri8`, and one
            with a tableau of your own: see `tableau_of`) run in pullback's own loop; every other
            one is handed to `diffrax.diffeqsolve`.
        rtol: relative tolerance of one step: a number, or a tree of them like `y0` or like the top
            of it; for a leaf one number, or one for each of its entries (of a sample, where steps
            are per sample).
        atol: absolute tolerance of one step, in the units of `y`; likewise.
        steps: take this many equal steps between two successive `ts` or jumps, with no error
            control.
        jumps: times at which `f` may jump, `[J]`, or with per-sample steps also `[batch, J]`, in
            any order. Those outside of `ts` do not count, so rows may be filled up with infinity.
        dt0: size of the first step, positive whichever way the times go; found when None. The
            shortest and longest step are `PIDController(dtmin=..., dtmax=...)`.
        event: stop at this `Event`, or at the first of several; see there, and `Solution.event`.
        adjoint: `Replay()` (the default: exact gradients of the steps taken, at their sizes),
            `Backsolve()` (constant memory), `DeferredPenalty()` (penalties in the backward pass
            only), one of your own (see `AbstractAdjoint`), or one of Diffrax's, of which
            `diffrax.DirectAdjoint()` has derivatives of every mode and order.
        stepping: "joint": one step size for the whole state. "per_sample": each entry of the
            leading axis has its own time, step size and error control, so that its result does not
            depend on what else is in the batch; the batch still goes through `f` at once.
        controller: the step-size controller.
        norm: from the error of each entry over its tolerance to one number; a step passes at 1.
            `state_norm` leaves out what rides along with the state.
        max_steps: the most steps tried, refused ones included.
        throw: raise `SolveError` when the solve fails. If False, look at `Solution.result`; a
            training loop does, because the check is a host callback, which keeps a compiled
            program out of JAX's persistent cache.

    Returns:
        A `Solution`: `ts`, `ys`, `stats`, `result`, `t_reached` and `event`.

    Raises:
        ValueError: an argument has a wrong value; the message names it.
        TypeError: `y0` is not made of floating or complex arrays of one precision.
        SolveError: the solve failed and `throw` is True.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> decay = lambda t, y, rate: -rate * y
        >>> sol = pb.ode.solve(decay, jnp.array([1.0, 2.0]), jnp.linspace(0.0, 1.0, 3), 0.5)
        >>> jnp.allclose(sol.ys[-1], jnp.array([1.0, 2.0]) * jnp.exp(-0.5), rtol=1e-3).item()
        True
        >>> sol.ys.shape
        (3, 2)

        A dose of 1 within half an hour of a hundred, and how the last value moves with its edges:

        >>> def last(edges):
        ...     on = lambda t: (t > edges[0]) & (t < edges[1])
        ...     cleared = lambda t, y, _: jnp.where(on(t), 2.0, 0.0) - 0.1 * y
        ...     return pb.ode.solve(cleared, 0.0, [0.0, 100.0], jumps=edges, rtol=1e-6).ys[-1]
        >>> edges = jnp.array([70.0, 70.5])
        >>> exact = 20.0 * (jnp.exp(-2.95) - jnp.exp(-3.0))
        >>> bool(abs(last(edges) / exact - 1) < 1e-4)
        True
        >>> exact = jnp.array([-2.0, 2.0]) * jnp.exp(0.1 * (edges - 100.0))
        >>> bool(jnp.allclose(jax.grad(last)(edges), exact, rtol=1e-3))
        True

    Source: Chen et al., Neural Ordinary Differential Equations (2018), sections 2 and 3.
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
    if event is None:
        solution = Solution(given.ts, *_solve(problem))
    else:
        solution = stopped(problem, given.ts, watched(event, args, problem), _solve)
    return raise_if_failed(solution) if throw else solution


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
        f, y0, ts, args, solver, rtol, atol, steps, jumps, dt0, stepping, controller, norm,
            max_steps: as in `solve`.
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


class _Answer(NamedTuple):
    """A `Solution` but for its times."""

    ys: PyTree
    stats: Stats
    result: Array
    t_reached: Array


@eqx.filter_jit
def _solve(problem: Problem) -> _Answer:
    if problem.method is None:
        return _solve_with_diffrax(problem)
    problem = problem.with_jumps()
    method = problem.method
    inputs = problem.field.params, problem.y0, problem.ts
    field = Static(problem.field.over_lanes(problem.per_sample))
    path = differentiable(inputs, method, problem.adjoint, problem.clock, field)
    return _answer(problem, path)


@eqx.filter_jit
def _forward(problem: Problem) -> tuple[_Answer, Array, PyTree]:
    problem = problem.with_jumps()
    field = OnClock(problem.field.over_lanes(problem.per_sample), problem.clock)
    path, residuals = problem.adjoint.forward(
        problem.method, field, problem.y0, problem.ts, problem.field.params
    )
    path = outputs(path, problem.y0)
    return _answer(problem, path), _reached(problem, path), residuals


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


def _reached(problem: Problem, path: Path) -> Bool[Array, "times *lanes"]:
    ts = problem.ts
    direction = jnp.sign(ts[..., -1] - ts[..., 0])[..., None]
    reached = direction * ts <= direction * lax.stop_gradient(path.t)[..., None]
    reached |= (path.code == Result.SUCCESSFUL)[..., None]
    return jnp.moveaxis(reached, -1, 0)


def _answer(problem: Problem, path: Path) -> _Answer:
    # What was not reached is NaN, never a number that looks like an answer.
    reached, ys = _reached(problem, path), path.ys
    if problem.rows is not None:
        reached, ys = picked((reached, ys), problem.rows)

    def mask(y: Array) -> Array:
        seen = jnp.reshape(reached, reached.shape + (1,) * (y.ndim - reached.ndim))
        y = jnp.where(seen, y, jnp.nan)
        return jnp.moveaxis(y, 0, 1) if problem.per_sample else y

    return _Answer(
        joined(jax.tree.map(mask, ys)),
        Stats(nfe=path.nfe, accepted=path.accepted, rejected=path.rejected),
        path.code,
        lax.stop_gradient(problem.clock.reached(path.t)),
    )


def _solve_with_diffrax(problem: Problem) -> _Answer:
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
    return _Answer(joined(ys), stats, code, t)


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
