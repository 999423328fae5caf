"""Steady states: where a field is zero."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import optimistix
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from pullback._solve_arguments import check_callable, check_count, check_mesh, checked_state

from ._field import TracedField, trace_field
from ._tolerances import positive_number


class SteadyState(NamedTuple):
    """Where a field is zero, and how the search for it ended.

    Attributes:
        y: the state, like `y0`; NaN where none was found.
        converged: whether it was found.
        steps: how many steps the search took.
    """

    y: PyTree[Float[Array, "..."]]
    converged: Bool[Array, ""]
    steps: Int[Array, ""]


def steady_state(
    f: Callable[[Float[Array, ""], PyTree, PyTree], PyTree],
    y0: PyTree[Float[ArrayLike, "..."]],
    args: PyTree = None,
    *,
    t: float | Float[ArrayLike, ""] = 0.0,
    rtol: float | Float[ArrayLike, ""] = 1e-6,
    atol: float | Float[ArrayLike, ""] = 1e-6,
    method: optimistix.AbstractRootFinder | optimistix.AbstractLeastSquaresSolver | None = None,
    max_steps: int = 256,
    throw: bool = True,
) -> SteadyState:
    r"""Find a state $y^*$ that stays as it is, $f(t, y^*, \text{args}) = 0$, by root finding.

    It is differentiated by the implicit function theorem, in both modes; the search is not:

    $$ \frac{dy^*}{d\theta} = - \Big(\frac{\partial f}{\partial y}\Big)^{-1}
       \frac{\partial f}{\partial \theta}. $$

    It may be one to which no solution goes (an unstable one), and where there are several it is
    one near `y0`: to find the one that a solution settles at, give a state late on it,
    `solve(...).ys[-1]`. The Jacobian must be regular there; where something is conserved it is
    not, so put that law in the place of one of the equations.

    Args:
        f: the vector field `f(t, y, args)`.
        y0: where to start: any PyTree of floating arrays, all of one dtype.
        args: any PyTree, handed to `f`.
        t: the time that `f` sees.
        rtol: relative tolerance: the search ends when a step of Newton's is within it.
        atol: absolute tolerance, in the units of `y`.
        method: a root finder of Optimistix with its own tolerances; `optimistix.Dogleg` when None.
        max_steps: the most steps of the search.
        throw: raise where no steady state is found. If False, look at `SteadyState.converged`.

    Returns:
        A `SteadyState`: `y`, `converged` and `steps`.

    Raises:
        ValueError: an argument has a wrong value; the message names it.
        TypeError: `y0` is not made of floating arrays of one dtype.
        RuntimeError: none was found and `throw` is True.

    Example:
        A substrate that flows in, and is taken up at a rate that saturates:

        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> def uptake(t, s, inflow):
        ...     return inflow - 2.0 * s / (0.5 + s)
        >>> level = lambda inflow: pb.ode.steady_state(uptake, jnp.array(1.0), inflow).y
        >>> bool(jnp.allclose(level(jnp.array(1.5)), 1.5))
        True
        >>> bool(jnp.allclose(jax.grad(level)(jnp.array(1.5)), 4.0))
        True

    Source: Nocedal and Wright, Numerical Optimization (2006), section 11.2, for the method; the
    derivative is that of the implicit function theorem.
    """
    check_callable("f", f)
    y0, dtype = checked_state(y0)
    check_mesh("y0", y0)
    check_count("max_steps", max_steps)
    rtol, atol = positive_number("rtol", rtol, dtype), positive_number("atol", atol, dtype)
    dogleg: Any = optimistix.Dogleg
    finders = optimistix.AbstractRootFinder, optimistix.AbstractLeastSquaresSolver
    if method is None:
        method = dogleg(rtol, atol)
    elif not isinstance(method, finders):
        raise TypeError(
            f"method must be a root finder of Optimistix such as optimistix.Newton(rtol=1e-6, "
            f"atol=1e-6), got {type(method).__name__}"
        )
    at = jnp.asarray(t, dtype)
    if at.ndim != 0:
        raise ValueError(f"t must be one time, got shape {list(at.shape)}")
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (at, y0))
    field, _ = trace_field(f, args, *shapes, diagonal=False)
    found = _find(field, at, y0, (rtol, atol), method, max_steps)
    if not throw:
        return found
    message = (
        "steady_state found none within its steps: start closer (at the end of a solve, say), "
        "raise max_steps, loosen the tolerances, or use float64; where something is conserved, put "
        "that law in the place of one of the equations"
    )
    return found._replace(y=eqx.error_if(found.y, ~found.converged, message))


@eqx.filter_jit
def _find(
    field: TracedField, t: Array, y0: PyTree, tolerances: tuple, method: Any, max_steps: int
) -> SteadyState:
    params = field.params
    # Not a part of the function, or it would be differentiated twice.
    bare = eqx.tree_at(lambda f: f.params, field, ([], [], []))
    residual = lambda y, given: bare(given[0], y, given[1])
    given = t, params
    found = optimistix.root_find(residual, method, y0, given, max_steps=max_steps, throw=False)
    # The least value of a field that has no zero ends a search, too: there this step is long.
    here = jax.lax.stop_gradient(found.value)
    still = jax.lax.stop_gradient(eqx.filter(given, eqx.is_inexact_array))
    kept = eqx.combine(still, given)
    rate = residual(here, kept)
    jacobian = lineax.JacobianLinearOperator(residual, here, kept)
    step = lineax.linear_solve(
        jacobian, rate, lineax.AutoLinearSolver(well_posed=None), throw=False
    )
    rtol, atol = tolerances
    small = lambda d, y: jnp.all(jnp.abs(d) <= 10 * (atol + rtol * jnp.abs(y)))
    near = jax.tree.map(small, step.value, here)
    converged = jnp.all(jnp.stack(jax.tree.leaves(near)))
    converged &= found.result == optimistix.RESULTS.successful
    y = jax.tree.map(lambda y: jnp.where(converged, y, jnp.nan), found.value)
    steps = jnp.asarray(found.stats["num_steps"], jnp.int32)
    return SteadyState(y, converged, steps)
