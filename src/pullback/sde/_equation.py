"""An SDE traced once: drift, diffusion and prior drift as functions of explicit parameters."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from pullback.ode._lanes import spread

from ._noise import leaves_of, times_increment

KL = Literal["analytic", "monte_carlo", "sticking_the_landing"]
Function = Callable[[Array, PyTree, PyTree], PyTree]


class Equation(eqx.Module):
    """Functions of `(t, y, params)`; `prior` is None where no path-space KL is wanted."""

    drift: Function = eqx.field(static=True)
    diffusion: Function = eqx.field(static=True)
    prior: Function | None = eqx.field(static=True)
    kl: KL = eqx.field(static=True)

    def given(self, rest: PyTree) -> "Equation":
        """The same functions of those parameters that `rest` has not."""

        def bind(f: Function) -> Function:
            return lambda t, y, params: f(t, y, eqx.combine(params, rest))

        prior = None if self.prior is None else bind(self.prior)
        return Equation(bind(self.drift), bind(self.diffusion), prior, self.kl)

    def increment(
        self, t: Array, y: PyTree, params: PyTree, dt: Array, increments: Sequence[Array | None]
    ) -> PyTree:
        """`drift dt + diffusion dW`."""
        f = self.drift(t, y, params)
        products = times_increment(y, self.diffusion(t, y, params), increments)
        leaves, structure = jax.tree.flatten(f)
        return structure.unflatten(
            [
                spread(dt, leaf) * leaf + (jnp.zeros_like(leaf) if p is None else p)
                for leaf, p in zip(leaves, products, strict=True)
            ]
        )

    def kl_increment(
        self, t: Array, y: PyTree, params: PyTree, dt: Array, increments: Sequence[Array | None]
    ) -> Array:
        """The growth of the path-space KL over a step that starts at `(t, y)`."""
        total = 0.0
        for u in self._control(t, y, params):
            if u is not None:
                square = _over_state(jnp.square(u))
                total = total + 0.5 * spread(dt, square) * square
        if self.kl == "analytic":
            return jnp.asarray(total)
        if self.kl == "sticking_the_landing":
            params = lax.stop_gradient(params)
        # By Ito's rule the integrand is taken where the step starts.
        for u, w in zip(self._control(t, y, params), increments, strict=True):
            if u is not None:
                total = total + _over_state(u * w)
        return jnp.asarray(total)

    def _control(self, t: Array, y: PyTree, params: PyTree) -> list[Any]:
        """`u` with `diffusion u = drift - prior`, for each leaf that has noise."""
        if self.prior is None:
            raise ValueError("a path-space KL needs the prior's drift")
        f, h = (leaves_of(y, g(t, y, params)) for g in (self.drift, self.prior))
        sigma = leaves_of(y, self.diffusion(t, y, params))
        return [
            None if s is None else _solve_for_control(s, a - b)
            for s, a, b in zip(sigma, f, h, strict=True)
        ]


def _solve_for_control(sigma: Array, difference: Array) -> Array:
    if sigma.ndim == difference.ndim:
        # Where the noise vanishes the KL is infinite; a floor keeps the gradient finite.
        tiny = jnp.asarray(1e-7, sigma.dtype)
        safe = jnp.where(jnp.abs(sigma) < tiny, jnp.where(sigma < 0, -tiny, tiny), sigma)
        return difference / safe
    gram = jnp.einsum("...dm,...em->...de", sigma, sigma)
    solved = jnp.linalg.solve(gram, difference[..., None])[..., 0]
    return jnp.einsum("...dm,...d->...m", sigma, solved)


def _over_state(x: Array) -> Array:
    return jnp.sum(x, axis=-1) if x.ndim else x


def kl_shape(y: PyTree, sigma: PyTree) -> tuple[int, ...]:
    """The shape of the KL: the axes of a noisy leaf before its last."""
    pairs = zip(jax.tree.leaves(y), leaves_of(y, sigma), strict=True)
    shapes = {leaf.shape[:-1] for leaf, s in pairs if s is not None}
    if len(shapes) != 1:
        raise ValueError(
            "the KL is summed over the last axis of the state; the axes before it number the paths "
            f"and must agree among the arrays that have noise, got {sorted(shapes)}"
        )
    return shapes.pop()
