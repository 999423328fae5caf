"""One step of a method on a given Brownian increment."""

import abc
from collections.abc import Sequence
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from pullback._lanes import add, spread
from pullback.ode import Tableau, advance, tableau_of

from ._equation import Equation
from ._noise import leaves_of

Interpretation = Literal["ito", "stratonovich"]


class AbstractMethod(eqx.Module):
    """From the state at the start of a step to the state at its end."""

    @property
    @abc.abstractmethod
    def evaluations(self) -> int:
        """Evaluations of the drift that a step costs."""

    @abc.abstractmethod
    def start(self, y0: PyTree) -> PyTree:
        """What the method carries along, at the first time. It is linear in `y0`."""

    @abc.abstractmethod
    def value(self, state: PyTree) -> PyTree:
        """The solution's value in what the method carries."""

    @abc.abstractmethod
    def step(
        self,
        equation: Equation,
        t: Array,
        dt: Array,
        increments: Sequence[Array | None],
        state: PyTree,
        params: PyTree,
    ) -> PyTree:
        """The state at the end of the step."""


class RungeKutta(AbstractMethod):
    """An explicit method on `drift dt + diffusion dW`, as if it were a field over one unit."""

    tableau: Tableau = eqx.field(static=True)

    @property
    def evaluations(self) -> int:
        return self.tableau.evaluations

    def start(self, y0: PyTree) -> PyTree:
        return y0

    def value(self, state: PyTree) -> PyTree:
        return state

    def step(
        self,
        equation: Equation,
        t: Array,
        dt: Array,
        increments: Sequence[Array | None],
        state: PyTree,
        params: PyTree,
    ) -> PyTree:
        def field(s: Array, y: PyTree, params: PyTree) -> PyTree:
            return equation.increment(t + s * dt, y, params, dt, increments)

        unit = jnp.ones((), dt.dtype)
        return advance(self.tableau, field, jnp.zeros_like(unit), unit, state, params)


class Milstein(AbstractMethod):
    """Milstein's method for noise that is diagonal element by element."""

    interpretation: Interpretation = eqx.field(static=True)

    @property
    def evaluations(self) -> int:
        return 1

    def start(self, y0: PyTree) -> PyTree:
        return y0

    def value(self, state: PyTree) -> PyTree:
        return state

    def step(
        self,
        equation: Equation,
        t: Array,
        dt: Array,
        increments: Sequence[Array | None],
        state: PyTree,
        params: PyTree,
    ) -> PyTree:
        y1 = add(state, equation.increment(t, state, params, dt, increments))
        corrections = self._corrections(equation, t, dt, increments, state, params)
        leaves, structure = jax.tree.flatten(y1)
        return structure.unflatten(
            [leaf if c is None else leaf + c for leaf, c in zip(leaves, corrections, strict=True)]
        )

    def _corrections(
        self,
        equation: Equation,
        t: Array,
        dt: Array,
        increments: Sequence[Array | None],
        y: PyTree,
        params: PyTree,
    ) -> list[Any]:
        products = slope_along_noise(lambda y: equation.diffusion(t, y, params), y)
        result: list[Any] = []
        for slope, w in zip(products, increments, strict=True):
            if slope is None or w is None:
                result.append(None)
                continue
            square = jnp.square(w)
            if self.interpretation == "ito":
                square = square - spread(dt, w)
            result.append(0.5 * slope * square)
        return result


def slope_along_noise(diffusion: Any, y: PyTree) -> list[Any]:
    """`sigma_i d sigma_i / d y_i` for each leaf, where `sigma_i` reads `y_i` alone."""
    leaves, structure = jax.tree.flatten(y)
    sigma = leaves_of(y, diffusion(y))
    along = [jnp.zeros_like(x) if s is None else s for x, s in zip(leaves, sigma, strict=True)]
    _, slope = jax.jvp(
        lambda y: [s for s in leaves_of(y, diffusion(y)) if s is not None],
        (y,),
        (structure.unflatten(along),),
    )
    slopes = iter(slope)
    return [None if s is None else next(slopes) for s in sigma]


class ReversibleHeun(AbstractMethod):
    """A Stratonovich method whose steps can be taken back exactly: it carries `(y, y_hat)`.

    Source: Kidger et al., Efficient and Accurate Gradients for Neural SDEs (2021), algorithm 1.
    """

    @property
    def evaluations(self) -> int:
        return 2

    def start(self, y0: PyTree) -> PyTree:
        return y0, y0

    def value(self, state: PyTree) -> PyTree:
        return state[0]

    def step(
        self,
        equation: Equation,
        t: Array,
        dt: Array,
        increments: Sequence[Array | None],
        state: PyTree,
        params: PyTree,
    ) -> PyTree:
        y, hat = state
        here = equation.increment(t, hat, params, dt, increments)
        hat1 = jax.tree.map(lambda y, h, k: 2 * y - h + k, y, hat, here)
        there = equation.increment(t + dt, hat1, params, dt, increments)
        return jax.tree.map(lambda y, a, b: y + 0.5 * (a + b), y, here, there), hat1

    def back(
        self,
        equation: Equation,
        t: Array,
        dt: Array,
        increments: Sequence[Array | None],
        state: PyTree,
        params: PyTree,
    ) -> PyTree:
        """The state at the start of the step that ended in `state`."""
        y1, hat1 = state
        there = equation.increment(t + dt, hat1, params, dt, increments)
        hat = jax.tree.map(lambda y, h, k: 2 * y - h - k, y1, hat1, there)
        here = equation.increment(t, hat, params, dt, increments)
        return jax.tree.map(lambda y, a, b: y - 0.5 * (a + b), y1, here, there), hat


def method_of(solver: diffrax.AbstractSolver, noise: str) -> AbstractMethod | None:
    """Our form of a Diffrax solver, or None when Diffrax is to run it.

    A subclass may take another step, so only the class itself counts.
    """
    kind = type(solver)
    tableau = tableau_of(solver)
    if tableau is not None:
        return RungeKutta(tableau)
    if kind in (diffrax.ItoMilstein, diffrax.StratonovichMilstein):
        if noise == "general":
            raise ValueError(
                "Milstein's method needs diagonal or additive noise; for general noise use "
                "diffrax.Heun() (Stratonovich) or diffrax.Euler() (Ito)"
            )
        return Milstein("ito" if kind is diffrax.ItoMilstein else "stratonovich")
    return ReversibleHeun() if kind is diffrax.ReversibleHeun else None


def needs_additive_noise(solver: diffrax.AbstractSolver) -> bool:
    """Whether `solver` reads the diffusion once a step, and so is wrong where it changes with y."""
    inner = unwrapped(solver)
    return isinstance(inner, diffrax.AbstractSRK) and inner.tableau.is_additive_noise()


def unwrapped(solver: Any) -> Any:
    """The solver inside of `HalfSolver` and its like."""
    while hasattr(solver, "solver"):
        solver = solver.solver
    return solver


def interpretation_of(solver: diffrax.AbstractSolver) -> Interpretation | None:
    """Whose integral a solver converges to; None for one that is not for SDEs."""
    if isinstance(solver, diffrax.AbstractItoSolver):
        return "ito"
    if isinstance(solver, diffrax.AbstractStratonovichSolver):
        return "stratonovich"
    return None
