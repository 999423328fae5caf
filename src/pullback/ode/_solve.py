"""`solve`: the solution of an initial value problem."""

from collections.abc import Callable

import diffrax
from jaxtyping import Array, ArrayLike, Float, Inexact, PyTree, Real

from ._adjoint import AbstractAdjoint
from ._control import Norm, PIDController, rms_norm
from ._event import Event, watched
from ._problem import Stepping, problem_of
from ._result import Solution, raise_if_failed
from ._run import run
from ._until import stopped


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
        solution = Solution(given.ts, *run(problem))
    else:
        solution = stopped(problem, given.ts, watched(event, args, problem), run)
    return raise_if_failed(solution) if throw else solution
