"""Implicit Runge-Kutta steps for stiff fields whose Jacobian has a cheap diagonal."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from pullback.calculus import dimensionwise_derivatives

from ._jacobi_newton import JacobiNewton, find_root
from ._runge_kutta import OnClock

_GAMMA = 1 - 1 / math.sqrt(2)
# By the number of stages: gamma; the part that each base has of the stage before; its time.
_TABLEAUS = {
    1: (1.0, (0.0,), (1.0,)),
    2: (_GAMMA, (0.0, (1 - _GAMMA) / _GAMMA), (_GAMMA, 1.0)),
}


class SDIRK(diffrax.AbstractAdaptiveSolver):
    r"""Implicit Euler (one stage) or Alexander's method (two), solved by Jacobi-Newton.

    Each stage solves, with $\gamma = 1$ or $1 - 1/\sqrt2$,

    $$ Y - \gamma h f(t, Y) = b, \qquad
       D_i = 1 - \gamma h \frac{\partial f_i}{\partial y_i}, $$

    by `find_root`. The order is the number of stages. Both methods are L-stable: the length of a
    step is set by the accuracy, not by the fastest rate. With a hollow net the diagonal is cheap,
    so that a stage costs a few evaluations and no linear solve; any other field works, at `dim`
    times the cost.

    Give it to `pb.ode.solve` as `solver`. The field must be one of a vector `[dim]`; give a batch
    with `stepping="per_sample"`. Gradients are exact for the discrete solution: by the implicit
    function theorem within a step, by `Replay` from step to step. With two stages it can adapt
    its steps, by the cautious estimate of a method of order 1 within it; between steps its values
    are interpolated linearly. With one stage it needs `steps`.

    Attributes:
        stages: 1 or 2.
        method: how the stages are solved.

    Raises:
        ValueError: there are neither 1 nor 2 stages, or the state is not one vector.

    Example:
        >>> import jax.numpy as jnp, pullback as pb
        >>> stiff = lambda t, y, args: -1000.0 * (y - jnp.cos(t))
        >>> sol = pb.ode.solve(
        ...     stiff, jnp.array([2.0]), [0.0, 1.0], solver=pb.ode.SDIRK(2), steps=20
        ... )
        >>> bool(abs(sol.ys[-1, 0] - jnp.cos(1.0)) < 1e-2)
        True

    Source:
        Alexander, SIAM Journal on Numerical Analysis 14 (1977), theorem 5; Chen and Duvenaud,
        arXiv 1912.03579, section 3.
    """

    stages: Literal[1, 2] = eqx.field(default=2, static=True)
    method: JacobiNewton = JacobiNewton()

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.LocalLinearInterpolation]] = (
        diffrax.LocalLinearInterpolation
    )

    def __check_init__(self) -> None:
        if self.stages not in (1, 2):
            raise ValueError(f"SDIRK(stages) must be 1 or 2, got {self.stages}")

    def order(self, terms: PyTree) -> int:
        """The order of the method."""
        return self.stages

    def init(self, terms: PyTree, t0: Any, t1: Any, y0: Any, args: PyTree) -> None:
        """Nothing is carried from step to step."""
        return None

    def step(
        self,
        terms: PyTree,
        t0: Any,
        t1: Any,
        y0: Any,
        args: PyTree,
        solver_state: None,
        made_jump: Any,
    ) -> tuple[Array, Array | None, dict[str, Array], None, diffrax.RESULTS]:
        """One step of Diffrax's loop."""
        if not isinstance(y0, Array) or y0.ndim != 1:
            raise ValueError(
                "SDIRK solves for one vector [dim]; give a batch of them with "
                'stepping="per_sample", and ravel anything else'
            )
        h = jnp.asarray(terms.contr(t0, t1), y0.dtype)
        gamma, weights, fractions = _TABLEAUS[self.stages]

        def stage(last: Array, row: Array) -> tuple[Array, tuple[Array, Array]]:
            weight, fraction = row
            # The rate of the stage before, without another evaluation.
            base = y0 + weight * (last - y0)
            inputs = (terms, t0 + fraction * (t1 - t0), base, gamma * h, args)
            y, info = find_root(_stage, base, inputs, method=self.method, throw=False)
            return y, (y - base, info.converged)

        # A loop over the stages, so that one program serves both.
        rows = jnp.asarray([weights, fractions], y0.dtype).T
        y1, (rises, converged) = lax.scan(stage, y0, rows)
        converged = jnp.all(converged)
        # Against the method of order 1 that has the first stage's rate only. A step that adapts is
        # taken again, shorter, when a stage has no solution.
        error = jnp.where(converged, rises[1] - rises[0], jnp.inf) if self.stages == 2 else None
        result = diffrax.RESULTS.where(
            converged,
            diffrax.RESULTS.successful,
            diffrax.RESULTS.nonlinear_divergence,  # pyrefly: ignore
        )
        return y1, error, {"y0": y0, "y1": y1}, None, result

    def func(self, terms: PyTree, t0: Any, y0: Any, args: PyTree) -> Any:
        """The vector field."""
        return terms.vf(t0, y0, args)


def _stage(y: Array, inputs: tuple) -> tuple[Array, Array]:
    terms, t, base, step, args = inputs
    # Diffrax wraps the term of a field to turn its time round, and a solve counts time from the
    # first; within lies the field itself, which may know its own diagonal.
    while not isinstance(terms, diffrax.ODETerm):
        terms, t = terms.term, t * terms.direction
    f = terms.vector_field
    if isinstance(f, OnClock):
        f, t = f.field, f.clock.time(t)
    f, df = dimensionwise_derivatives(f, t, y, args)
    return y - base - step * f, 1 - step * df
