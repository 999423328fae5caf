"""Anderson acceleration of a fixed-point iteration, as a solver of Optimistix."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree


class _State(eqx.Module):
    points: Float[Array, "memory dim"]
    values: Float[Array, "memory dim"]
    count: Int[Array, ""]
    relative_error: Float[Array, ""]


class Anderson(optx.AbstractFixedPointSolver):
    r"""Anderson acceleration: the mixture of the last iterates whose residual is least.

    $$ y_{n+1} = \sum_{i} \alpha_i f(y_i), \qquad
       \alpha = \arg\min_{\sum \alpha_i = 1} \Big\| \sum_i \alpha_i (f(y_i) - y_i) \Big\|^2
       + \epsilon \|\alpha\|^2 $$

    For a linear map of d entries it ends after about d steps, whatever the contraction; close to a
    fixed point it needs far fewer evaluations than plain iteration when that is slow. Each step
    solves a small system, so for a fast contraction plain iteration costs less. Give it to
    `optimistix.fixed_point` or to a flow as its `solver`.

    Args:
        rtol: relative tolerance of the residual $f(y) - y$.
        atol: absolute tolerance of it.
        norm: of the scaled residual.
        memory: how many iterates are mixed.
        ridge: $\epsilon$, relative to the largest squared residual.

    Raises:
        ValueError: `memory` is below 1.

    Example:
        >>> import jax.numpy as jnp, optimistix as optx
        >>> cosine = lambda y, args: jnp.cos(y)
        >>> found = optx.fixed_point(cosine, Anderson(1e-6, 1e-6), jnp.asarray(1.0))
        >>> print(f"{found.value:.4f}", bool(found.stats["num_steps"] < 10))
        0.7391 True

    Source: Walker and Ni, Anderson Acceleration for Fixed-Point Iterations, SIAM Journal on
        Numerical Analysis 49 (2011).
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Array] = optx.max_norm
    memory: int = eqx.field(default=5, static=True)
    ridge: float | None = None

    def __check_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"`memory` must be 1 or more, got {self.memory}.")

    def init(
        self, fn: Any, y: PyTree, args: Any, options: Any, f_struct: Any, aux_struct: Any, tags: Any
    ) -> _State:
        """An empty memory."""
        flat, _ = ravel_pytree(y)
        empty = jnp.zeros((self.memory, flat.size), flat.dtype)
        return _State(empty, empty, jnp.asarray(0), jnp.asarray(jnp.inf, flat.dtype))

    def step(
        self, fn: Any, y: PyTree, args: Any, options: Any, state: _State, tags: Any
    ) -> tuple[PyTree, _State, Any]:
        """Evaluate, remember, and mix."""
        value, aux = fn(y, args)
        flat, unravel = ravel_pytree(y)
        flat_value, _ = ravel_pytree(value)
        place = state.count % self.memory
        points = state.points.at[place].set(flat)
        values = state.values.at[place].set(flat_value)
        count = state.count + 1
        weights = self._weights(values - points, jnp.arange(self.memory) < count)
        scale = self.atol + self.rtol * jnp.abs(flat_value)
        error = self.norm((flat_value - flat) / scale)
        # At the end the value itself: mixing it with older ones could only undo the last digit.
        mixed = jnp.where(error < 1, flat_value, weights @ values)
        return unravel(mixed), _State(points, values, count, error), aux

    def _weights(
        self, residuals: Float[Array, "memory dim"], used: Bool[Array, " memory"]
    ) -> Float[Array, " memory"]:
        gram = jnp.where(used[:, None] & used[None, :], residuals @ residuals.T, 0)
        largest = jnp.max(jnp.diagonal(gram))
        ridge = self.ridge
        if ridge is None:
            ridge = 10 * float(jnp.finfo(gram.dtype).eps)
        # An unused place is an equation of its own, whose answer is 0.
        shift = jnp.where(
            used, ridge * largest + jnp.finfo(gram.dtype).tiny, jnp.ones_like(largest)
        )
        solved = jnp.linalg.solve(gram + jnp.diag(shift), used.astype(gram.dtype))
        return solved / jnp.sum(solved)

    def terminate(
        self, fn: Any, y: PyTree, args: Any, options: Any, state: _State, tags: Any
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        """When the residual is within the tolerance."""
        return state.relative_error < 1, optx.RESULTS.successful

    def postprocess(
        self, fn: Any, y: PyTree, aux: Any, args: Any, options: Any, state: Any, tags: Any,
        result: Any,
    ) -> tuple[PyTree, Any, dict[str, Any]]:  # fmt: skip
        """Nothing is to be done."""
        return y, aux, {}
