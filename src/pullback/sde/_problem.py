"""The arguments of a solve, checked, and its functions, traced once."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import diffrax
import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback._clock import Clock
from pullback._key import checked_key
from pullback._solve_arguments import check_callable, check_count, check_mesh, checked_state
from pullback._traced import Program, traced
from pullback.ode import Replay

from ._equation import KL, Equation, kl_shape
from ._grid import Grid, checked_times, grid_of, runs_backward
from ._methods import (
    AbstractMethod,
    interpretation_of,
    method_of,
    needs_additive_noise,
    unwrapped,
)
from ._noise import (
    Noise,
    check_diffusion,
    check_path,
    increment_shapes,
    leaves_of,
    to_one_array,
)
from ._stochastic_adjoint import StochasticAdjoint

NAMES = ("drift", "diffusion", "prior")


class Problem(eqx.Module):
    """The arguments of a solve, checked. `method` is None when Diffrax is to run it."""

    traced: "Traced"
    y0: PyTree
    # Counted from the first, as all that follows counts them.
    ts: Array
    clock: Clock
    key: PRNGKeyArray | None
    path: diffrax.AbstractBrownianPath | None
    solver: diffrax.AbstractSolver
    adjoint: Any
    method: AbstractMethod | None
    # An array where the times are traced.
    backward: bool | Array
    # Whether this equation can be solved backward.
    reversible: bool = eqx.field(static=True)
    # None where steps adapt.
    grid: Grid | None
    rtol: float | None = eqx.field(static=True)
    atol: float | None = eqx.field(static=True)
    kl: KL = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)


def problem_of(
    drift: Any,
    diffusion: Any,
    y0: PyTree,
    ts: Any,
    args: PyTree,
    *,
    key: Any,
    path: Any,
    solver: Any,
    noise: Any,
    interpretation: Any,
    adjoint: Any,
    prior: Any,
    kl: Any,
    dt: Any,
    steps: Any,
    rtol: Any,
    atol: Any,
    max_steps: Any,
) -> tuple[Problem, Array | np.ndarray]:
    """The problem, and its times as they were given."""
    functions = (drift, diffusion, prior)
    for name, value in zip(NAMES, functions, strict=True):
        if not (name == "prior" and value is None):
            check_callable(name, value)
    _check_choice("noise", noise, ("diagonal", "additive", "general"))
    _check_choice("kl", kl, ("analytic", "monte_carlo", "sticking_the_landing"))
    _check_choice("interpretation", interpretation, (None, "ito", "stratonovich"))
    # A changing weight of the KL or a traced step must not be mistaken for a setting.
    pairs = (("dt", dt), ("rtol", rtol), ("atol", atol))
    dt, rtol, atol = (None if x is None else _setting(name, x) for name, x in pairs)
    _check_steps(dt, steps, rtol, atol)
    if not isinstance(solver, diffrax.AbstractSolver):
        raise TypeError(f"solver must be a Diffrax solver such as Midpoint(), got {solver!r}")
    adjoint = Replay(segment=128) if adjoint is None else adjoint
    if not isinstance(adjoint, Replay | StochasticAdjoint | diffrax.DirectAdjoint):
        raise TypeError(
            "adjoint must be pullback.ode.Replay(), pullback.sde.StochasticAdjoint() or "
            f"diffrax.DirectAdjoint(), got {adjoint!r}"
        )
    _check_interpretation(solver, noise, interpretation, adjoint, drift)
    if (key is None) == (path is None):
        raise ValueError("give a key, or path=... and key=None: they both say what the noise is")
    key = None if key is None else checked_key(key)
    y0, dtype = checked_state(y0)
    for name, tree in (("y0", y0), ("args", args), *zip(NAMES, functions, strict=True)):
        check_mesh(name, tree)
    if steps is not None:
        check_count("steps", steps)
    check_count("max_steps", max_steps)
    leading = [leaf.shape for leaf in jax.tree.leaves(y0)]
    shared = 0
    while all(len(s) > shared and s[shared] == leading[0][shared] for s in leading):
        shared += 1
    method = None if rtol is not None else method_of(solver, noise)
    # Diffrax would widen the state to the dtype of the times.
    times = checked_times(ts, dtype, leading[0][:shared], narrow=method is None)
    backward = runs_backward(times)
    # Where the noise does not depend on the state, the two integrals are the same.
    stratonovich = noise == "additive" or interpretation_of(solver) == "stratonovich"
    steps_back = not isinstance(unwrapped(solver), diffrax.AbstractSRK)
    if backward is True:
        _check_backward(solver, prior, stratonovich, steps_back)
    grid = None if rtol is not None else grid_of(times, dt, steps)
    if method is None:
        _check_for_diffrax(solver, adjoint, times.since)
    t = times.clock.time(times.since[..., 0])
    found = _trace(functions, args, y0, t, times.clock, noise, kl)
    if path is not None:
        check_path(path, increment_shapes(y0, found.sigma), times)
    problem = Problem(
        traced=found,
        y0=y0,
        ts=times.since,
        clock=times.clock,
        key=key,
        path=path,
        solver=solver,
        adjoint=adjoint,
        method=method,
        backward=backward,
        reversible=stratonovich and steps_back and prior is None,
        grid=grid,
        rtol=rtol,
        atol=atol,
        kl=kl,
        max_steps=max_steps,
    )
    return problem, times.given


def _check_choice(name: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{name} must be one of {listed}, got {value!r}")


def _setting(name: str, value: Any) -> float:
    if isinstance(value, Tracer):
        raise TypeError(
            f"{name} must be a number that is known when the program is compiled, and here it is "
            "traced: make it a Python number, outside of jax.jit"
        )
    if isinstance(value, str) or not eqx.is_array_like(value) or np.size(value) != 1:
        raise TypeError(f"{name} must be one number, got {value!r}")
    return float(value)


def _check_steps(dt: float | None, steps: Any, rtol: float | None, atol: float | None) -> None:
    adaptive = rtol is not None or atol is not None
    if (dt is not None) + (steps is not None) + adaptive != 1:
        raise ValueError(
            "say how to step, in one way: dt=... (the longest step), steps=... (so many between "
            f"two times), or rtol=... and atol=...; got dt={dt}, steps={steps}, rtol={rtol}, "
            f"atol={atol}"
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if adaptive and (value is None or not value > 0):
            raise ValueError(f"steps that adapt need both rtol and atol, positive; {name}={value}")


def _check_interpretation(
    solver: diffrax.AbstractSolver, noise: str, declared: str | None, adjoint: Any, drift: Any
) -> None:
    name = type(solver).__name__
    solves = interpretation_of(solver)
    if solves is None:
        raise ValueError(
            f"{name} is not a solver for SDEs; for Stratonovich equations use diffrax.Midpoint() "
            "or Heun(), for Ito ones diffrax.Euler() or ItoMilstein()"
        )
    if isinstance(unwrapped(solver), diffrax.AbstractFosterLangevinSRK):
        raise ValueError(
            f"{name} solves Langevin's equation alone, given by terms of its own: call "
            "diffrax.diffeqsolve, or use a solver of any equation such as diffrax.Heun() here"
        )
    # Where the noise does not depend on the state, the two integrals are the same.
    if noise == "additive":
        return
    if needs_additive_noise(solver):
        raise ValueError(
            f'{name} is right for noise="additive" only, got noise={noise!r}: say noise="additive" '
            "if the diffusion does not read y; else use diffrax.Heun() or SPaRK()"
        )
    declared = declared or getattr(drift, "interpretation", None)
    if declared is not None and declared != solves:
        fits = "Midpoint() or Heun()" if declared == "stratonovich" else "Euler() or ItoMilstein()"
        raise ValueError(
            f"the equation is of {declared.capitalize()}'s kind, but {name} solves one of "
            f"{solves.capitalize()}'s: use diffrax.{fits}, or convert the drift by "
            f"pullback.sde.{'stratonovich_to_ito' if solves == 'ito' else 'ito_to_stratonovich'}"
        )
    if solves == "ito" and isinstance(adjoint, StochasticAdjoint):
        raise ValueError(
            f"StochasticAdjoint runs a Stratonovich equation backwards, and {name} solves Ito's: "
            "convert the drift by pullback.sde.ito_to_stratonovich and use diffrax.Midpoint(), or "
            "keep the solver and use adjoint=pullback.ode.Replay()"
        )


def _check_backward(
    solver: diffrax.AbstractSolver, prior: Any, stratonovich: bool, steps_back: bool
) -> None:
    if not steps_back:
        raise ValueError(
            f"ts is decreasing, and Diffrax's {type(solver).__name__} steps forward alone: use "
            "diffrax.Heun() or Midpoint()"
        )
    if not stratonovich:
        raise ValueError(
            f"ts is decreasing, and {type(solver).__name__} solves an equation of Ito's, whose "
            "integral has no way back: convert the drift by pullback.sde.ito_to_stratonovich and "
            'use diffrax.Heun(), or say noise="additive" if the diffusion does not read y'
        )
    if prior is not None:
        raise ValueError(
            "ts is decreasing, and the path-space KL to a prior is that of a path in its own "
            "direction: solve with increasing ts, or leave prior out"
        )


def _check_for_diffrax(solver: diffrax.AbstractSolver, adjoint: Any, ts: Array) -> None:
    if ts.ndim > 1:
        raise ValueError("ts with a row for each path needs steps=N and a solver of pullback's own")
    runge_kutta = isinstance(unwrapped(solver), diffrax.AbstractERK | diffrax.Euler)
    if isinstance(adjoint, StochasticAdjoint) and not runge_kutta:
        raise ValueError(
            f"{type(solver).__name__} cannot take the backward equation of StochasticAdjoint: use "
            "adjoint=pullback.ode.Replay(), or a Runge-Kutta solver such as diffrax.Heun()"
        )


class Traced(eqx.Module):
    """The functions of a solve, and all arrays that they read, as `params`."""

    params: tuple[list[list[Array]], list[Array], Clock]
    equation: Equation
    # None where no KL is wanted.
    kl_shape: tuple[int, ...] | None = eqx.field(static=True)

    @property
    def sigma(self) -> PyTree:
        """The diffusion's value, without its numbers."""
        return cast(_Function, self.equation.diffusion).program.out


class _Function(NamedTuple):
    """One of the functions, of the time since the first, the state and all `params`."""

    program: Program
    place: int

    def __call__(self, since: Array, y: PyTree, params: PyTree) -> PyTree:
        consts, arrays, clock = params
        return self.program(consts[self.place], clock.time(since), y, arrays)


def _trace(
    functions: tuple[Callable, Callable, Callable | None],
    args: PyTree,
    y0: PyTree,
    t: Array,
    clock: Clock,
    noise: Noise,
    kl: KL,
) -> Traced:
    """Trace drift, diffusion and prior, once each, and check their values."""
    inputs, static = eqx.partition((functions, args), eqx.is_array)
    arrays, structure = jax.tree.flatten(inputs)

    def evaluate(place: int) -> Callable:
        def call(t: Array, y: PyTree, arrays: list[Array]) -> PyTree:
            functions, args = eqx.combine(jax.tree.unflatten(structure, arrays), static)
            return functions[place](t, y, args)

        return call

    consts, found = [], []
    for place, (name, function) in enumerate(zip(NAMES, functions, strict=True)):
        if function is not None:
            read, program = traced(name, evaluate(place), t, y0, arrays, same_as=function)
            check_mesh(f"what {name} closes over", read)
            consts.append(read)
            found.append(_Function(program, place))
    drift, diffusion, *prior = found
    sigma = diffusion.program.out
    check_diffusion(y0, sigma, noise)
    _check_drift(drift.program.out, y0)
    if noise == "additive" and _reads_state(diffusion.program, y0):
        raise ValueError(
            'noise="additive" says that the diffusion does not depend on y, but it reads y: use '
            'noise="diagonal" or "general"'
        )
    over = None
    if prior:
        _check_prior(prior[0].program.out, y0, sigma)
        over = kl_shape(y0, sigma)
    equation = Equation(drift, diffusion, prior[0] if prior else None, kl)
    return Traced((consts, arrays, clock), equation, over)


def _reads_state(program: Program, y0: PyTree) -> bool:
    _, used = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    return any(used[1 : 1 + len(jax.tree.leaves(y0))])


def _check_drift(got: PyTree, y0: PyTree) -> None:
    want = jax.eval_shape(lambda y: y, y0)
    described = lambda tree: [f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(tree)]
    if jax.tree.structure(got) != jax.tree.structure(want) or described(got) != described(want):
        raise ValueError(
            f"drift must return what y is, {jax.tree.structure(want)} of {described(want)}, got "
            f"{jax.tree.structure(got)} of {described(got)}{to_one_array(y0, got)}"
        )


def _check_prior(got: PyTree, y0: PyTree, sigma: PyTree) -> None:
    hint = to_one_array(y0, got)
    try:
        leaves = leaves_of(y0, got)
    except ValueError as error:
        raise ValueError(
            f"prior must return the structure of y, {jax.tree.structure(y0)}, got "
            f"{jax.tree.structure(got)}{hint}"
        ) from error
    triples = zip(jax.tree.leaves(y0), leaves, leaves_of(y0, sigma), strict=True)
    for leaf, h, s in triples:
        if s is None:
            continue
        want = f"{leaf.dtype}{list(leaf.shape)}"
        found = f"{h.dtype}{list(h.shape)}" if hasattr(h, "shape") else type(h).__name__
        if found != want:
            raise ValueError(
                f"prior must return what y is, {want}, wherever there is noise, got {found}{hint}"
            )
