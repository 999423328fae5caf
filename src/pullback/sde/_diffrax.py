"""Solves that are handed to Diffrax: steps that adapt, and solvers that we do not write."""

from collections.abc import Callable
from typing import Any, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
from jaxtyping import Array, PRNGKeyArray, PyTree

from pullback._clock import Clock, wider
from pullback._linear import by_two
from pullback._modes import no_second
from pullback._nodes import Nodes
from pullback.ode import Replay, Result, Stats

from ._answer import Answer, code_of
from ._methods import unwrapped
from ._noise import increment_shapes, leaves_of, times_increment
from ._paths import GivenPath
from ._problem import Problem, Traced

# Steps that adapt are no shorter than this share of the whole time.
_SHORTEST = 2.0**-16


def solve_with_diffrax(problem: Problem) -> Answer:
    """Solve by `diffrax.diffeqsolve` on a virtual Brownian tree."""
    traced = problem.traced
    if traced.kl_shape is not None and problem.kl != "analytic":
        raise ValueError(
            f'kl="{problem.kl}" needs fixed steps (dt=... or steps=...) and a solver that pullback '
            'runs itself, such as diffrax.Euler(); with these steps use kl="analytic"'
        )
    adjoint, inputs = problem.adjoint, (traced.params, problem.y0)
    if isinstance(adjoint, diffrax.DirectAdjoint):
        (ys, kl), (result, accepted, rejected) = _by_diffrax(inputs, problem)
    else:
        replay = isinstance(adjoint, Replay)
        adjoint = diffrax.RecursiveCheckpointAdjoint() if replay else diffrax.BacksolveAdjoint()
        problem = eqx.tree_at(lambda p: p.adjoint, problem, adjoint)
        (ys, kl), (result, accepted, rejected) = by_two(
            inputs, _by_diffrax, _forward_by_diffrax, problem, no_second(adjoint)
        )
    ys = _cast(ys, jax.tree.leaves(problem.y0)[0].dtype)
    code, last = code_of(ys, kl)
    code = jnp.where(result == int(Result.SUCCESSFUL), code, result)
    stats = Stats(jnp.full_like(accepted, -1), accepted, rejected)
    return Answer(ys, kl, code, problem.clock.reached(problem.ts[last]), stats)


def _forward_by_diffrax(inputs: tuple, problem: Problem) -> tuple[tuple, tuple]:
    problem = eqx.tree_at(lambda p: p.adjoint, problem, diffrax.ForwardMode())
    if hasattr(unwrapped(problem.solver), "scan_kind"):
        kind = lambda p: unwrapped(p.solver).scan_kind
        problem = eqx.tree_at(kind, problem, "lax", is_leaf=lambda x: x is None)
    return _by_diffrax(inputs, problem)


def _by_diffrax(inputs: tuple, problem: Problem) -> tuple[tuple, tuple]:
    """The values and the divergence, and the result with the numbers of steps."""
    params, y0 = inputs
    traced = problem.traced
    # A start that is not finite is not tried: no step could mend it.
    # Nor are times that are out of order, at which Diffrax raises whatever `throw` says.
    gaps = jnp.diff(problem.ts)
    if problem.backward is not False:
        gaps = jnp.where(problem.backward & problem.reversible, -gaps, gaps)
    sound = jnp.all(gaps >= 0)
    for leaf in jax.tree.leaves(y0):
        sound &= jnp.all(jnp.isfinite(leaf))
    ts = jnp.where(sound, problem.ts, 0.0)
    controller, shortest, max_steps = _controller(problem, ts)
    noise = _Noise(y0, traced.sigma, traced.kl_shape is not None)
    zero = None
    if traced.kl_shape is not None:
        zero = jnp.zeros(traced.kl_shape, noise.wide), jnp.zeros(traced.kl_shape, noise.wide)
    sol = diffrax.diffeqsolve(
        diffrax.MultiTerm(
            diffrax.ODETerm(_drift(traced, noise)),
            diffrax.ControlTerm(noise.control(traced), _path(problem, ts, noise, shortest)),
        ),
        problem.solver if problem.grid is None else _AtNodes(problem.solver),
        t0=ts[0],
        t1=ts[-1],
        dt0=None,
        y0=(_cast(y0, noise.wide), zero),
        args=params,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=controller,
        adjoint=problem.adjoint,
        max_steps=max_steps,
        throw=False,
    )
    ys, kl = cast(tuple, sol.ys)
    if kl is not None:
        kl, outside = kl
        kl = jnp.where(outside > 0, jnp.inf, kl).astype(noise.dtype)
    counts = (jnp.asarray(sol.stats[f"num_{kind}_steps"]) for kind in ("accepted", "rejected"))
    return (ys, kl), (Result.from_diffrax(sol.result), *counts)


def _path(
    problem: Problem, ts: Array, noise: "_Noise", shortest: Array
) -> diffrax.AbstractBrownianPath:
    """The path of the time since the first."""
    if problem.path is not None:
        return noise.of_path(problem.path, problem.clock)
    span = ts[-1]
    tree = diffrax.VirtualBrownianTree(
        t0=jnp.zeros_like(span),
        # A solve of no length asks for no increment, but a tree must have a length.
        t1=jnp.where(span == 0, 1.0, jnp.abs(span)),
        # Above the steps' own size the tree is smooth, and the variance silently wrong.
        tol=shortest / 4,
        shape=noise.shape,
        key=cast(PRNGKeyArray, problem.key),
        levy_area=_levy_area(problem.solver),
    )
    if problem.backward is False:
        return tree
    # The tree of the same times in increasing order begins where these end.
    start = jnp.where(problem.backward, -span, 0.0)
    clock = Clock(start, start + span, ts.dtype)
    return noise.of_path(tree, clock)


def _levy_area(solver: diffrax.AbstractSolver) -> type:
    """The least that the path must tell of its Levy area for `solver`."""
    least = getattr(unwrapped(solver), "minimal_levy_area", diffrax.AbstractBrownianIncrement)
    for kind in (diffrax.SpaceTimeTimeLevyArea, diffrax.SpaceTimeLevyArea):
        if issubclass(least, kind.__mro__[1]):
            return kind
    return diffrax.BrownianIncrement


def _controller(
    problem: Problem, ts: Array
) -> tuple[diffrax.AbstractStepSizeController, Array, int]:
    """How to step, the shortest step, and the most steps."""
    grid = problem.grid
    if grid is not None:
        # Steps of no length are left out; if there are no others, any tree will do.
        shortest = jnp.min(jnp.where(grid.dt != 0, jnp.abs(grid.dt), jnp.inf))
        shortest = jnp.where(jnp.isfinite(shortest), shortest, 1.0)
        return Nodes(jnp.concatenate([grid.t, ts[-1:]])), shortest, grid.t.shape[0] + 1
    if problem.rtol is None or problem.atol is None:
        raise ValueError("a problem has a grid or tolerances")
    shortest = jnp.abs(ts[-1] - ts[0]) * _SHORTEST
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


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def _drift(traced: Traced, noise: "_Noise") -> Callable:
    """The drift of the state `(y, (kl, for how long it has been infinite))`."""
    equation, over = traced.equation, traced.kl_shape

    def drift(t: Array, state: tuple, params: PyTree) -> tuple:
        y = _cast(state[0], noise.dtype)
        rates = None if over is None else _cast(equation.kl_rate(t, y, params), noise.wide)
        return _cast(equation.drift(t, y, params), noise.wide), rates

    return drift


class _AtNodes(diffrax.AbstractWrappedSolver):
    """A solver whose outputs, which are at the ends of its steps, are the ends of its steps.

    `diffrax.HalfSolver` has the dense output of another step than the one it takes.
    """

    outer: diffrax.AbstractSolver

    interpolation_cls = diffrax.LocalLinearInterpolation

    @property
    def solver(self) -> Any:
        """What Diffrax asks for the kind of."""
        return unwrapped(self.outer)

    @property
    def scan_kind(self) -> Any:
        """How the stages are looped over, which Diffrax would have to set to go forward."""
        return getattr(self.solver, "scan_kind", None)

    @property
    def term_structure(self) -> Any:
        return self.outer.term_structure

    @property
    def term_compatible_contr_kwargs(self) -> Any:
        return self.outer.term_compatible_contr_kwargs

    def order(self, terms: Any) -> Any:
        return self.outer.order(terms)

    def strong_order(self, terms: Any) -> Any:
        return self.outer.strong_order(terms)

    def error_order(self, terms: Any) -> Any:
        return self.outer.error_order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: PyTree, args: PyTree) -> Any:
        return self.outer.init(terms, t0, t1, y0, args)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: PyTree,
        args: PyTree,
        solver_state: Any,
        made_jump: Any,
    ) -> tuple:
        found = self.outer.step(terms, t0, t1, y0, args, solver_state, made_jump)
        y1, error, _, state, result = found
        return y1, error, {"y0": y0, "y1": y1}, state, result

    def func(self, terms: Any, t0: Any, y0: PyTree, args: PyTree) -> Any:
        return self.outer.func(terms, t0, y0, args)


class _Noise:
    """The shape of the Brownian motion, and what multiplies it."""

    def __init__(self, y: PyTree, sigma: PyTree, with_kl: bool):
        self.dtype = jax.tree.leaves(y)[0].dtype
        # In half precision a tree cannot tell its own nodes apart, so the solve runs in single.
        self.wide = wider(jnp.float32, self.dtype)
        shapes = increment_shapes(y, sigma)
        kept = [jax.ShapeDtypeStruct(s.shape, self.wide) for s in shapes if s is not None]
        pairs = zip(jax.tree.leaves(y), leaves_of(y, sigma), strict=True)
        # Some methods of Diffrax take this form alone.
        self.diagonal = not with_kl and all(s is not None and s.ndim == x.ndim for x, s in pairs)
        self.shape = (jax.tree.structure(y).unflatten(kept), None) if self.diagonal else kept

    def of_path(self, path: diffrax.AbstractBrownianPath, clock: Clock) -> GivenPath:
        """`path` in the structure and the dtype of the noise."""
        return GivenPath(
            path=path, clock=clock, shape=self.shape, dtype=self.wide, levy_area=path.levy_area
        )

    def control(self, traced: Traced) -> Callable:
        """The diffusion as a linear operator from the Brownian motion to the state."""
        diffusion = traced.equation.diffusion

        def control(t: Array, state: tuple, params: PyTree) -> lineax.AbstractLinearOperator:
            sigma = _cast(diffusion(t, _cast(state[0], self.dtype), params), self.wide)
            if self.diagonal:
                return lineax.DiagonalLinearOperator((sigma, None))
            return _Product(leaves_of(state[0], sigma), jax.tree.map(jnp.zeros_like, state))

        return control


class _Product(lineax.AbstractLinearOperator):
    """A diffusion times increments, as a PyTree of arrays: some methods keep one a stage."""

    sigma: list[Array | None]
    zero: tuple[PyTree, PyTree]

    def mv(self, vector: list[Array]) -> tuple[PyTree, PyTree]:
        """The rise of `(y, kl)`, of which the latter has no noise."""
        y, kl = self.zero
        leaves, structure = jax.tree.flatten(y)
        drawn = iter(vector)
        increments = [None if s is None else next(drawn) for s in self.sigma]
        products = times_increment(y, structure.unflatten(self.sigma), increments)
        filled = [x if p is None else p for x, p in zip(leaves, products, strict=True)]
        return structure.unflatten(filled), kl

    def as_matrix(self) -> Array:
        """Not needed, for no method solves with it."""
        raise NotImplementedError("only products of a diffusion are taken")

    def transpose(self) -> lineax.AbstractLinearOperator:
        """Not needed, for no method solves with it."""
        raise NotImplementedError("only products of a diffusion are taken")

    def in_structure(self) -> PyTree:
        """The shape of the increments."""
        y, _ = self.zero
        shapes = increment_shapes(y, jax.tree.structure(y).unflatten(self.sigma))
        return [s for s in shapes if s is not None]

    def out_structure(self) -> PyTree:
        """The shape of the state."""
        return jax.eval_shape(lambda: self.zero)


for _property in (
    lineax.has_unit_diagonal,
    lineax.is_diagonal,
    lineax.is_lower_triangular,
    lineax.is_negative_semidefinite,
    lineax.is_positive_semidefinite,
    lineax.is_symmetric,
    lineax.is_tridiagonal,
    lineax.is_upper_triangular,
):
    _property.register(_Product)(lambda operator: False)
