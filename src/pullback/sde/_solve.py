"""`solve` for stochastic differential equations, and the Brownian path that it sees."""

from collections.abc import Callable
from typing import Any, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree, Real

from pullback import ode
from pullback._linear import linear
from pullback.ode import Replay, Result, Stats

from ._answer import Answer, code_of
from ._diffrax import solve_with_diffrax
from ._equation import KL
from ._grid import Grid, blocks, padded
from ._loop import Outputs, Program, first, replay, run
from ._methods import AbstractMethod, Interpretation
from ._noise import Counter, Noise, OnPath, increment_shapes
from ._problem import Problem, problem_of
from ._stochastic_adjoint import Residuals, StochasticAdjoint, pull_back


class Solution(eqx.Module):
    """The solution of an SDE at the times asked for.

    Attributes:
        ts: the times as they were given: a NumPy array where JAX's dtype would change the gaps
            between them, as float32 does with seconds since 1970.
        ys: the values, with a time axis in front of every leaf, `[T, ...]`.
        kl: the path-space KL gathered from the first time on, `[T, ...]`: one number for each path,
            that is for each index of the axes before the state's last. None without a prior.
        stats: evaluations of the drift, and steps. Diffrax's solvers do not tell the former: -1.
        result: a `pullback.ode.Result` code.
        t_reached: the time at which the solve ended.
    """

    ts: Float[Array | np.ndarray, "..."]
    ys: PyTree[Float[Array, "..."]]
    kl: Float[Array, "..."] | None
    stats: Stats
    result: Int[Array, ""]
    t_reached: Float[Array, ""]


def solve(
    drift: Callable[[Array, PyTree, PyTree], PyTree],
    diffusion: Callable[[Array, PyTree, PyTree], PyTree],
    y0: PyTree[Float[ArrayLike, "..."]],
    ts: Real[ArrayLike, "..."] | list | tuple,
    args: PyTree = None,
    *,
    key: PRNGKeyArray | None,
    solver: diffrax.AbstractSolver,
    noise: Noise = "diagonal",
    interpretation: Interpretation | None = None,
    adjoint: Replay | StochasticAdjoint | diffrax.DirectAdjoint | None = None,
    prior: Callable[[Array, PyTree, PyTree], PyTree] | None = None,
    kl: KL = "analytic",
    dt: float | None = None,
    steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    path: diffrax.AbstractBrownianPath | None = None,
    max_steps: int = 4096,
    throw: bool = True,
) -> Solution:
    r"""Solve $dy = b(t, y)\,dt + \sigma(t, y)\,dW$ from $y(t_0) = y_0$.

    The solver says whose integral it is: `diffrax.Euler` (Euler-Maruyama) and `ItoMilstein` solve
    Ito equations; `Midpoint`, `Heun`, `Ralston`, `StratonovichMilstein` and `ReversibleHeun`
    Stratonovich ones. These run in pullback's own loop when steps are fixed. Any other SDE solver
    of Diffrax, and any solver with `rtol` and `atol`, runs in `diffrax.diffeqsolve`.

    Gradients flow to `y0`, `args`, the parameters of the functions, and arrays that they close
    over; one with respect to `ts` is refused, for a Brownian path has none. The functions are
    traced at each call, as that of `pullback.ode.solve` is, and may read what changes.

    For many paths give `y0` leading axes, and functions that take them (`jax.vmap` a function of
    one path): the noise of every path is its own, and the gradient of shared parameters is summed
    step by step, which `jax.vmap` of `solve` would not do.

    With a `prior` the KL divergence in path space between the solution's distribution and that of
    $dy = h\,dt + \sigma\,dW$ is gathered on the way (Girsanov). With $\sigma u = b - h$ it is the
    expectation of any of three forms, evaluated where each step starts:

    $$ \text{analytic: } \int \tfrac12 \|u\|^2 dt, \qquad
       \text{monte\_carlo: } \int \tfrac12 \|u\|^2 dt + \int u \cdot dW, $$

    and `sticking_the_landing`, which has the value of the second, but in whose second integral the
    parameters count as constants. Where the solution's distribution is the true posterior, its
    gradient has no variance but the steps'. The two distributions must share $\sigma$: else the KL
    is infinite.

    Args:
        drift: `b(t, y, args)`; its value has the structure, shapes and dtype of `y`.
        diffusion: `sigma(t, y, args)`: for each array of `y` an array as `noise` says, or None
            where there is no noise.
        y0: the start: any PyTree of floating arrays, all of one dtype.
        ts: the times at which the solution is wanted, `[T]` with `T >= 2`, increasing or
            decreasing; a time may be repeated. With `steps`, also `[batch, T]`, a row for each
            entry of the leading axis of `y0`; rows may be padded by repeating their last time, and
            the functions get `t` of shape `[batch]`. Decreasing times run a Stratonovich equation
            back on the path that the same key and steps have in increasing order, to where it
            came from, as far as the steps' error goes; an Ito equation has no way back but with
            `noise="additive"`, and there is no `prior`.
        args: any PyTree, handed to the functions.
        key: the noise. With fixed steps the increment of step k is drawn from `key` and k, so that
            nothing is stored, and a backward pass meets the same path.
        solver: a Diffrax solver for SDEs.
        noise: "diagonal": an array of the shape of `y`, whose entry i depends on entry i of `y`
            alone; each entry of `y` has a Brownian motion of its own. "additive": it does not
            depend on `y`; of the shape of `y`, or as for "general". "general": `[..., d, m]` for
            `y` of `[..., d]`, with m Brownian motions for each path.
        interpretation: whose equation this is. When given, a solver of the other kind is an error.
        adjoint: `pullback.ode.Replay()` (the default, keeping 128 states: exact gradients of the
            discrete solution), `StochasticAdjoint()` (constant memory), or
            `diffrax.DirectAdjoint()` (JAX differentiates the loop; memory grows with the number of
            steps). Each has forward mode, along the steps taken.
        prior: the drift `h(t, y, args)` of the other distribution; where there is no noise it may
            have None.
        kl: the form of the KL.
        dt: take equal steps of at most this length between two successive `ts`, which must be
            known when the program is compiled.
        steps: take this many equal steps between two successive `ts`.
        rtol: relative tolerance, for steps that adapt on a virtual Brownian tree.
        atol: absolute tolerance, in the units of `y`.
        path: a Brownian path of Diffrax's, with the shape of the noise, instead of `key`; its
            `tol` must be below the shortest step, beneath which the path is smooth.
        max_steps: the most steps, when they adapt.
        throw: raise `pullback.ode.SolveError` when the solution is not finite or the steps do not
            suffice. If False, look at `Solution.result`.

    Returns:
        A `Solution`: `ts`, `ys`, `kl`, `stats`, `result` and `t_reached`.

    Raises:
        ValueError: an argument has a wrong value, or two do not go together; the message says
            which, and what fits.
        TypeError: `y0` is not made of floating arrays of one dtype.
        pullback.ode.SolveError: the solve failed and `throw` is True.

    Example:
        >>> import diffrax, jax, jax.numpy as jnp, jax.random as jr, pullback as pb
        >>> sol = pb.sde.solve(
        ...     lambda t, y, theta: -theta * y, lambda t, y, theta: 0.5 * jnp.ones_like(y),
        ...     jnp.ones((1000, 2)), [0.0, 1.0], 1.0, key=jr.key(0), solver=diffrax.Euler(),
        ...     noise="additive", dt=0.02, prior=lambda t, y, theta: jnp.zeros_like(y),
        ... )
        >>> sol.ys.shape, sol.kl.shape
        ((2, 1000, 2), (2, 1000))
        >>> bool(abs(jnp.mean(sol.ys[-1]) - jnp.exp(-1.0)) < 0.05)
        True

    Source: Li et al., Scalable Gradients for Stochastic Differential Equations (2020); the form
    `sticking_the_landing` is Xu et al., Infinitely Deep Bayesian Neural Networks with SDEs (2022).
    """
    problem, given = problem_of(
        drift,
        diffusion,
        y0,
        ts,
        args,
        key=key,
        path=path,
        solver=solver,
        noise=noise,
        interpretation=interpretation,
        adjoint=adjoint,
        prior=prior,
        kl=kl,
        dt=dt,
        steps=steps,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
    )
    answer = _solve(problem)
    solution = Solution(
        ts=given,
        ys=answer.ys,
        kl=answer.kl,
        stats=answer.stats,
        result=answer.code,
        t_reached=answer.t_reached,
    )
    if not throw:
        return solution
    # The divergence is looked at too: whoever takes that alone has the error of an infinite one.
    values = solution.ys, solution.kl
    checked = ode.raise_if_failed(
        ode.Solution(solution.ts, values, solution.stats, solution.result, solution.t_reached)
    )
    return eqx.tree_at(
        lambda s: (s.ys, s.kl), solution, checked.ys, is_leaf=lambda leaf: leaf is None
    )


def brownian_path(
    key: PRNGKeyArray,
    like: PyTree[Any],
    ts: Real[ArrayLike, "..."] | list | tuple,
    *,
    dt: float | None = None,
    steps: int | None = None,
) -> PyTree[Float[Array, "..."]]:
    """The Brownian motion that `solve` sees with this `key` and these fixed steps, at `ts`.

    Args:
        key: as given to `solve`.
        like: an array, or a PyTree of them, of the shape and dtype of the noise: of `y0`, when
            noise is diagonal.
        ts: the times `[T]`; the path is zero at the first.
        dt: as given to `solve`.
        steps: as given to `solve`.

    Returns:
        The path, with a time axis in front of every leaf.

    Raises:
        ValueError: as `solve`.

    Example:
        >>> import jax, jax.numpy as jnp, jax.random as jr, pullback as pb
        >>> w = pb.sde.brownian_path(jr.key(0), jnp.zeros(500), [0.0, 2.0], dt=0.1)
        >>> bool(abs(jnp.var(w[-1]) - 2.0) < 0.5)
        True
    """
    return solve(
        lambda t, y, args: jax.tree.map(jnp.zeros_like, y),
        lambda t, y, args: jax.tree.map(jnp.ones_like, y),
        jax.tree.map(jnp.zeros_like, like),
        ts,
        key=key,
        solver=diffrax.Euler(),
        noise="additive",
        dt=dt,
        steps=steps,
    ).ys


@eqx.filter_jit
def _solve(problem: Problem) -> Answer:
    if problem.method is None or problem.grid is None:
        answer = solve_with_diffrax(problem)
    else:
        answer = _on_fixed_steps(problem, problem.method, problem.grid)
    # Traced times are NaN here where two that differ became equal.
    gaps = jnp.diff(problem.ts, axis=-1)
    if problem.backward is not False:
        # Of traced times it is known only here whether the equation can be solved that way.
        gaps = jnp.where(problem.backward & problem.reversible, -gaps, gaps)
    ordered = jnp.all(gaps >= 0)
    code = jnp.where(ordered, answer.code, int(Result.TIMES_NOT_MONOTONE)).astype(jnp.int32)
    return answer._replace(
        code=lax.stop_gradient(code), t_reached=lax.stop_gradient(answer.t_reached)
    )


def _on_fixed_steps(problem: Problem, method: AbstractMethod, grid: Grid) -> Answer:
    ts, traced, steps = problem.ts, problem.traced, grid.t.shape[0]
    cuts: tuple[int, ...] = (steps,)
    if isinstance(problem.adjoint, Replay):
        cuts = blocks(steps, problem.adjoint.segment, problem.adjoint.checkpoints)
        length = 1
        for cut in cuts:
            length *= cut
        grid = padded(grid, length)
    shapes = increment_shapes(problem.y0, traced.sigma)
    path = problem.path
    draw = (
        Counter(cast(PRNGKeyArray, problem.key), steps, problem.backward, shapes)
        if path is None
        else OnPath(path, problem.clock, problem.backward, shapes)
    )
    program = Program(traced.equation, method, grid, draw, ts.shape[-1])
    adjoint = problem.adjoint
    if isinstance(adjoint, diffrax.DirectAdjoint):
        carry = first(program, problem.y0, traced.kl_shape)
        outputs = run(program, carry, traced.params)[0]
    else:
        inputs = traced.params, problem.y0
        outputs = _differentiable(inputs, program, adjoint, cuts, traced.kl_shape)
    code, last = code_of(outputs.ys, outputs.kl)
    count = jnp.asarray(steps, jnp.int32)
    stats = Stats(method.evaluations * count, count, jnp.zeros_like(count))
    reached = jnp.max(problem.clock.reached(ts[..., last]))
    return Answer(outputs.ys, outputs.kl, code, reached, stats)


@eqx.filter_custom_jvp
def _differentiable(
    inputs: tuple, program: Program, adjoint: Any, cuts: tuple, kl_shape: Any
) -> Outputs:
    params, y0 = inputs
    return run(program, first(program, y0, kl_shape), params)[0]


@_differentiable.def_jvp
def _derivative(primals: tuple, tangents: tuple) -> tuple[Outputs, Outputs]:
    inputs, program, adjoint, cuts, kl_shape = primals
    params, y0 = inputs
    carry = first(program, y0, kl_shape)
    if isinstance(adjoint, StochasticAdjoint):
        outputs, end, _ = run(program, carry, params)
        residuals = Residuals(outputs.ys, end.state)
    else:
        steps = program.grid.t.shape[0]
        outputs, _, residuals = run(program, carry, params, every=steps // cuts[-1])
    moves = jax.tree.map(lambda x: x is not None, tangents[0], is_leaf=lambda x: x is None)
    given = moves, residuals, primals
    return outputs, linear(_push, _pull, given, tangents[0], outputs)


def _push(given: tuple, tangents: tuple) -> Outputs:
    """The slopes of the outputs, on the same path."""
    moves, _, (inputs, program, _, _, kl_shape) = given
    moved, held = eqx.partition(inputs, moves)

    def solved(moved: tuple) -> Outputs:
        params, y0 = eqx.combine(moved, held)
        return run(program, first(program, y0, kl_shape), params)[0]

    return jax.jvp(solved, (moved,), (tangents,))[1]


def _pull(given: tuple, bars: Outputs) -> tuple:
    moves, residuals, (inputs, program, adjoint, cuts, _) = given
    params, y0 = inputs
    wanted, rest = eqx.partition(params, moves[0])
    equation = program.equation.given(rest)
    program = eqx.tree_at(lambda p: p.equation, program, equation)
    if isinstance(adjoint, StochasticAdjoint):
        bar, grad = pull_back(program, wanted, residuals, bars)
    else:
        bar, grad = replay(program, wanted, residuals, cuts, bars)
    _, pull = jax.vjp(program.method.start, y0)
    (y0_bar,) = pull(bar.state)
    y0_bar = jax.tree.map(lambda a, b: a + b[0], y0_bar, bars.ys)
    return grad, eqx.filter(y0_bar, moves[1])
