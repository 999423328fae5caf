"""`solve`, and `vjp` for those who want the backward pass and its cost in their own hands."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, PyTree

from ._adjoint import AbstractAdjoint, split
from ._control import PID, Norm, rms_norm
from ._diffrax import solve_with_diffrax
from ._loop import Method, Path, integrate
from ._replay import Replay
from ._result import Result, Solution, Stats, raise_if_failed
from ._runge_kutta import Field, tableau_of

Stepping = Literal["joint", "per_sample"]


def solve(
    f: Callable[[Float[Array, ""], PyTree, PyTree], PyTree],
    y0: PyTree[Float[ArrayLike, "..."]],
    ts: Float[ArrayLike, "..."] | list | tuple,
    args: PyTree = None,
    *,
    solver: diffrax.AbstractSolver | None = None,
    rtol: float | Float[ArrayLike, ""] = 1e-4,
    atol: float | Float[ArrayLike, ""] = 1e-6,
    steps: int | None = None,
    adjoint: AbstractAdjoint | diffrax.AbstractAdjoint | None = None,
    stepping: Stepping = "joint",
    control: PID | None = None,
    norm: Norm = rms_norm,
    max_steps: int = 4096,
    throw: bool = True,
) -> Solution:
    r"""Solve the initial value problem $dy/dt = f(t, y, \text{args})$, $y(t_0) = y_0$.

    Gradients flow to `y0`, `args`, `ts`, the parameters of `f` when it is a module, and arrays
    that `f` closes over.

    Args:
        f: the vector field `f(t, y, args)`; its value has the structure, shapes and dtype of `y`.
            With `stepping="per_sample"` it is written for one sample, without the leading axis.
        y0: the start: any PyTree of floating arrays, all of one dtype.
        ts: the times at which the solution is wanted, `[T]` with `T >= 2`, increasing or
            decreasing; the first is the time of `y0`. With per-sample steps also `[batch, T]`.
        args: any PyTree, handed to `f`.
        solver: a Diffrax solver; `diffrax.Dopri5()` when None. Explicit Runge-Kutta methods
            (`Euler`, `Heun`, `Midpoint`, `Ralston`, `Bosh3`, `Dopri5`, `Tsit5`, `Dopri8`) run in
            pullback's own loop; every other one is handed to `diffrax.diffeqsolve`.
        rtol: relative tolerance of one step.
        atol: absolute tolerance of one step, in the units of `y`.
        steps: take this many equal steps between two successive `ts`, with no error control.
        adjoint: `Replay()` (the default: exact gradients of the discrete solution), `Backsolve()`
            (constant memory), or one of Diffrax's.
        stepping: "joint": one step size for the whole state. "per_sample": each entry of the
            leading axis has its own time, step size and error control, so that its result does not
            depend on what else is in the batch; the batch still goes through `f` at once.
        control: the step-size controller.
        norm: from the error of each entry over its tolerance to one number; a step passes at 1.
            `state_norm` leaves out what rides along with the state.
        max_steps: the most steps tried, refused ones included.
        throw: raise `SolveError` when the solve fails. If False, look at `Solution.result`; a
            training loop does, because the check is a host callback, which keeps a compiled
            program out of JAX's persistent cache.

    Returns:
        A `Solution`: `ts`, `ys`, `stats`, `result` and `t_reached`.

    Raises:
        ValueError: an argument has a wrong value; the message names it.
        TypeError: `y0` is not made of floating arrays of one dtype.
        SolveError: the solve failed and `throw` is True.

    Example:
        >>> import jax.numpy as jnp, pullback as pb
        >>> decay = lambda t, y, rate: -rate * y
        >>> sol = pb.ode.solve(decay, jnp.array([1.0, 2.0]), jnp.linspace(0.0, 1.0, 3), 0.5)
        >>> jnp.allclose(sol.ys[-1], jnp.array([1.0, 2.0]) * jnp.exp(-0.5), rtol=1e-3).item()
        True
        >>> sol.ys.shape
        (3, 2)

    Source: Chen et al., Neural Ordinary Differential Equations (2018), sections 2 and 3.
    """
    problem = _problem(
        f, y0, ts, args, solver, rtol, atol, steps, adjoint, stepping, control, norm, max_steps
    )
    solution = _solve(problem)
    return raise_if_failed(solution) if throw else solution


class Gradients(NamedTuple):
    """What `vjp` pulls back to. Leaves that cannot be differentiated are None."""

    f: PyTree
    y0: PyTree
    ts: Float[Array, "..."]
    args: PyTree


def vjp(
    f: Callable[[Float[Array, ""], PyTree, PyTree], PyTree],
    y0: PyTree[Float[ArrayLike, "..."]],
    ts: Float[ArrayLike, "..."] | list | tuple,
    args: PyTree = None,
    *,
    solver: diffrax.AbstractSolver | None = None,
    rtol: float | Float[ArrayLike, ""] = 1e-4,
    atol: float | Float[ArrayLike, ""] = 1e-6,
    steps: int | None = None,
    adjoint: AbstractAdjoint | None = None,
    stepping: Stepping = "joint",
    control: PID | None = None,
    norm: Norm = rms_norm,
    max_steps: int = 4096,
) -> tuple[Solution, Callable[[PyTree], tuple[Gradients, Stats]]]:
    """Solve, and return the map that pulls a cotangent of `ys` back, with what that costs.

    `jax.grad` of `solve` gives the same gradients; this also tells the number of evaluations of
    the backward pass, which for `Backsolve` is known only when it has run. It does not raise when
    a solve fails: look at `Solution.result`.

    Args:
        f, y0, ts, args, solver, rtol, atol, steps, stepping, control, norm, max_steps: as in
            `solve`.
        adjoint: `Replay()` (the default) or `Backsolve()`.

    Returns:
        The solution, and a function from a cotangent shaped like `Solution.ys` to `Gradients` and
        the `Stats` of the backward pass.

    Raises:
        ValueError: as `solve`; also when the solver or the adjoint is one that Diffrax runs.

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
    problem = _problem(
        f, y0, ts, args, solver, rtol, atol, steps, adjoint, stepping, control, norm, max_steps
    )
    if problem.method is None or isinstance(problem.adjoint, diffrax.AbstractAdjoint):
        raise ValueError(
            "vjp runs pullback's own loop: give an explicit solver, Replay or Backsolve"
        )
    path, residuals = _forward(problem)
    return _solution(problem, path), lambda cotangent: _backward(problem, residuals, cotangent)


class _Problem(eqx.Module):
    """The arguments of a solve, checked. `method` is None when Diffrax is to run it."""

    f: Callable
    y0: PyTree
    ts: Array
    args: PyTree
    rtol: Array
    atol: Array
    method: Method | None
    adjoint: Any
    solver: diffrax.AbstractSolver
    control: PID = eqx.field(static=True)
    norm: Norm = eqx.field(static=True)
    steps: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    per_sample: bool = eqx.field(static=True)
    shared_times: bool = eqx.field(static=True)


def _problem(
    f: Any,
    y0: PyTree,
    ts: Any,
    args: PyTree,
    solver: Any,
    rtol: Any,
    atol: Any,
    steps: int | None,
    adjoint: Any,
    stepping: str,
    control: PID | None,
    norm: Norm,
    max_steps: int,
) -> _Problem:
    if not callable(f):
        raise TypeError(f"f must be a function f(t, y, args), got {type(f).__name__}")
    if stepping not in ("joint", "per_sample"):
        raise ValueError(f'stepping must be "joint" or "per_sample", got {stepping!r}')
    per_sample = stepping == "per_sample"
    y0, dtype = _checked_state(y0)
    ts = _checked_times(ts, y0, dtype, per_sample)
    shared_times = ts.ndim == 1
    if per_sample and shared_times:
        batch = jax.tree.leaves(y0)[0].shape[0]
        ts = jnp.broadcast_to(ts[None], (batch, ts.shape[0]))
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, or None for error control, got {steps}")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    rtol, atol = (_tolerance(n, v, dtype) for n, v in (("rtol", rtol), ("atol", atol)))
    solver = diffrax.Dopri5() if solver is None else solver
    if not isinstance(solver, diffrax.AbstractSolver):
        raise TypeError(f"solver must be a Diffrax solver such as Dopri5(), got {solver!r}")
    adjoint = Replay() if adjoint is None else adjoint
    if not isinstance(adjoint, AbstractAdjoint | diffrax.AbstractAdjoint):
        raise TypeError(
            f"adjoint must be Replay(), Backsolve() or one of Diffrax's, got {adjoint!r}"
        )
    tableau = tableau_of(solver)
    if tableau is not None and tableau.b_error is None and steps is None:
        name = type(solver).__name__
        raise ValueError(f"solver {name} has no error estimate to adapt steps by: give steps=N")
    if steps is not None:
        max_steps = steps * (ts.shape[-1] - 1)
    control = PID() if control is None else control
    method = None
    if tableau is not None and not isinstance(adjoint, diffrax.AbstractAdjoint):
        method = Method(tableau, control, norm, rtol, atol, steps, max_steps, per_sample)
    return _Problem(
        f,
        y0,
        ts,
        args,
        rtol,
        atol,
        method,
        adjoint,
        solver,
        control,
        norm,
        steps,
        max_steps,
        per_sample,
        shared_times,
    )


def _checked_state(y0: PyTree) -> tuple[PyTree, Any]:
    leaves = jax.tree.leaves(y0)
    if not leaves:
        raise ValueError("y0 has no arrays")
    y0 = jax.tree.map(jnp.asarray, y0)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(y0)}
    wrong = [d for d in dtypes if not jnp.issubdtype(d, jnp.floating)]
    if wrong:
        raise TypeError(f"y0 must be made of floating arrays, got {wrong[0]}: use y0.astype(float)")
    if len(dtypes) > 1:
        names = ", ".join(sorted(d.name for d in dtypes))
        raise TypeError(f"all arrays of y0 must have one dtype, got {names}")
    # A weak type would change on the first step.
    return jax.tree.map(lambda x: lax.convert_element_type(x, x.dtype), y0), dtypes.pop()


def _checked_times(ts: Any, y0: PyTree, dtype: Any, per_sample: bool) -> Array:
    ts = jnp.asarray(ts)
    # Half precision cannot tell the times of a few hundred steps apart.
    ts = ts.astype(jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)
    if ts.ndim not in ((1, 2) if per_sample else (1,)) or ts.shape[-1] < 2:
        wanted = "[T] or [batch, T]" if per_sample else "[T]"
        raise ValueError(f"ts must have shape {wanted} with T at least 2, got {list(ts.shape)}")
    if per_sample:
        leading = {leaf.shape[:1] for leaf in jax.tree.leaves(y0)}
        if len(leading) != 1 or () in leading:
            raise ValueError(
                'with stepping="per_sample" every array of y0 needs the same leading axis (the '
                f"samples), got shapes {[leaf.shape for leaf in jax.tree.leaves(y0)]}"
            )
        if ts.ndim == 2 and ts.shape[:1] not in leading:
            raise ValueError(f"ts has {ts.shape[0]} rows, but y0 has {leading.pop()[0]} samples")
    if not isinstance(ts, jax.core.Tracer):
        gaps = np.diff(np.asarray(ts), axis=-1)
        ordered = np.all(gaps >= 0, axis=-1) | np.all(gaps <= 0, axis=-1)
        if not (np.all(np.isfinite(ts)) and np.all(ordered)):
            raise ValueError(f"ts must be finite, and all increasing or all decreasing, got {ts}")
    return ts


def _tolerance(name: str, value: Any, dtype: Any) -> Array:
    value = jnp.asarray(value)
    if value.ndim != 0:
        raise ValueError(f"{name} must be one number, got shape {list(value.shape)}")
    if not isinstance(value, jax.core.Tracer) and not float(value) > 0:
        raise ValueError(f"{name} must be positive, got {float(value)}")
    return lax.stop_gradient(value.astype(dtype))


def _field(problem: _Problem) -> tuple[PyTree, Callable[[PyTree], Field]]:
    """All arrays that `f` reads, and the map from them to a field over lanes.

    `f` is traced here, once: what follows evaluates its jaxpr.
    """
    arrays, static = eqx.partition((problem.f, problem.args), eqx.is_array)

    def evaluate(t: Array, y: PyTree, arrays: PyTree) -> PyTree:
        f, args = eqx.combine(arrays, static)
        return f(t, y, args)

    t, y = problem.ts[..., 0], problem.y0
    if problem.per_sample:
        t, y = t[0], jax.tree.map(lambda x: x[0], y)
    _check_field(evaluate, t, y, arrays)
    closed = eqx.filter_closure_convert(evaluate, t, y, arrays)
    params, rest = eqx.partition((closed, arrays), eqx.is_array)

    def field_of(params: PyTree) -> Field:
        closed, arrays = eqx.combine(params, rest)
        one = lambda t, y: closed(t, y, arrays)
        return jax.vmap(one) if problem.per_sample else one

    return params, field_of


def _check_field(evaluate: Callable, t: Array, y: PyTree, arrays: PyTree) -> None:
    got = jax.eval_shape(evaluate, t, y, arrays)
    want = jax.eval_shape(lambda y: y, y)
    if jax.tree.structure(got) != jax.tree.structure(want):
        raise ValueError(
            f"f must return the structure of y, {jax.tree.structure(want)}, "
            f"got {jax.tree.structure(got)}"
        )
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if (g.shape, g.dtype) != (w.shape, w.dtype):
            raise ValueError(
                f"f must return what y is, {w.dtype}{list(w.shape)}, got {g.dtype}{list(g.shape)}"
            )


@eqx.filter_jit
def _solve(problem: _Problem) -> Solution:
    method = problem.method
    if method is None:
        return _solve_with_diffrax(problem)
    params, field_of = _field(problem)
    path = _differentiable(
        (params, problem.y0, problem.ts), method, problem.adjoint, _Static(field_of)
    )
    return _solution(problem, path)


class _Static(eqx.Module):
    """A callable that is not looked into."""

    value: Callable = eqx.field(static=True)


@eqx.filter_custom_vjp
def _differentiable(
    inputs: tuple, method: Method, adjoint: AbstractAdjoint, field: _Static
) -> Path:
    params, y0, ts = inputs
    path = integrate(method, _over(field.value), y0, ts, params)
    return _outputs(path, y0)


def _over(field_of: Callable[[PyTree], Field]) -> Field:
    return lambda t, y, params: field_of(params)(t, y)


def _outputs(path: Path, y0: PyTree) -> Path:
    """The path with its outputs in time order, and without what only a backward pass needs."""
    ys = path.ys
    if ys is None:
        ys = jax.tree.map(lambda a, b: jnp.stack([a, b]), y0, path.y)
    return path._replace(ys=ys, record=None)


@_differentiable.def_fwd
def _forward_rule(
    perturbed: PyTree, inputs: tuple, method: Method, adjoint: AbstractAdjoint, field: _Static
) -> tuple[Path, PyTree]:
    del perturbed
    params, y0, ts = inputs
    path, residuals = adjoint.forward(method, _over(field.value), y0, ts, params)
    return _outputs(path, y0), residuals


@_differentiable.def_bwd
def _backward_rule(
    residuals: PyTree,
    cotangent: Path,
    perturbed: PyTree,
    inputs: tuple,
    method: Method,
    adjoint: AbstractAdjoint,
    field: _Static,
) -> tuple:
    params, y0, ts = inputs
    params_perturbed, _, ts_perturbed = perturbed
    wanted, rest = eqx.partition(params, params_perturbed)

    def varying(t: Array, y: PyTree, wanted: PyTree) -> PyTree:
        return field.value(eqx.combine(wanted, rest))(t, y)

    times = ts.shape[-1]
    rows = jax.tree.map(lambda y: jnp.zeros((times, *y.shape), y.dtype), y0)
    # A cotangent that is None is zero.
    bars = jax.tree.map(
        lambda z, c: z if c is None else c, rows, cotangent.ys, is_leaf=lambda x: x is None
    )
    if any(leaf is not None for leaf in jax.tree.leaves(cotangent.y)):
        raise ValueError("the end of a path is read from its outputs")
    pulled = adjoint.backward(
        method, varying, residuals, ts, wanted, bars, times_too=bool(ts_perturbed)
    )
    return pulled.params, pulled.y0, pulled.ts


@eqx.filter_jit
def _forward(problem: _Problem) -> tuple[Path, PyTree]:
    params, field_of = _field(problem)
    path, residuals = problem.adjoint.forward(
        problem.method, _over(field_of), problem.y0, problem.ts, params
    )
    return _outputs(path, problem.y0), residuals


@eqx.filter_jit
def _backward(problem: _Problem, residuals: PyTree, cotangent: PyTree) -> tuple[Gradients, Stats]:
    params, field_of = _field(problem)
    wanted, rest = split(params)

    def varying(t: Array, y: PyTree, wanted: PyTree) -> PyTree:
        return field_of(eqx.combine(wanted, rest))(t, y)

    if problem.per_sample:
        cotangent = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), cotangent)
    pulled = problem.adjoint.backward(
        problem.method, varying, residuals, problem.ts, wanted, cotangent, times_too=True
    )
    ts_bar = pulled.ts
    if problem.per_sample and problem.shared_times:
        ts_bar = jnp.sum(ts_bar, axis=0)
    _, (f_bar, args_bar) = pulled.params
    return Gradients(f_bar, pulled.y0, ts_bar, args_bar), pulled.stats


def _solution(problem: _Problem, path: Path) -> Solution:
    ts, ys = problem.ts, path.ys
    # What was not reached is NaN, never a number that looks like an answer.
    direction = jnp.sign(ts[..., -1] - ts[..., 0])[..., None]
    reached = direction * ts <= direction * lax.stop_gradient(path.t)[..., None]
    reached |= (path.code == Result.SUCCESSFUL)[..., None]
    reached = jnp.moveaxis(reached, -1, 0)

    def mask(y: Array) -> Array:
        seen = jnp.reshape(reached, reached.shape + (1,) * (y.ndim - reached.ndim))
        y = jnp.where(seen, y, jnp.nan)
        return jnp.moveaxis(y, 0, 1) if problem.per_sample else y

    stats = Stats(nfe=path.nfe, accepted=path.accepted, rejected=path.rejected)
    return Solution(
        ts=ts[0] if problem.per_sample and problem.shared_times else ts,
        ys=jax.tree.map(mask, ys),
        stats=stats,
        result=path.code,
        t_reached=lax.stop_gradient(path.t),
    )


def _solve_with_diffrax(problem: _Problem) -> Solution:
    adjoint = problem.adjoint
    if isinstance(adjoint, AbstractAdjoint):
        if not isinstance(adjoint, Replay):
            raise ValueError(
                f"{type(adjoint).__name__} runs with explicit Runge-Kutta methods; with "
                f"{type(problem.solver).__name__} use diffrax.BacksolveAdjoint(), or leave it out"
            )
        adjoint = diffrax.RecursiveCheckpointAdjoint()
    ys, code, t, stats = solve_with_diffrax(
        problem.f,
        problem.y0,
        problem.ts,
        problem.args,
        solver=problem.solver,
        adjoint=adjoint,
        rtol=problem.rtol,
        atol=problem.atol,
        control=problem.control,
        norm=problem.norm,
        steps=problem.steps,
        max_steps=problem.max_steps,
        per_sample=problem.per_sample,
    )
    ts = problem.ts[0] if problem.per_sample and problem.shared_times else problem.ts
    return Solution(ts=ts, ys=ys, stats=stats, result=code, t_reached=t)
