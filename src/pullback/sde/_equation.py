"""An SDE traced once: drift, diffusion and prior drift as functions of explicit parameters."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from pullback._clock import wider
from pullback._lanes import spread

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
        total, outside = self.kl_rate(t, y, params)
        total = spread(dt, total) * total
        # A step of no length adds nothing, infinite or not.
        total = jnp.where(outside & (spread(dt, total) > 0), jnp.inf, total)
        if self.kl == "analytic":
            return total
        if self.kl == "sticking_the_landing":
            params = lax.stop_gradient(params)
        # By Ito's rule the integrand is taken where the step starts.
        for found, w in zip(self._control(t, y, params), increments, strict=True):
            if found is not None and w is not None:
                total = total + _over_state(found.u * w)
        return total

    def kl_rate(self, t: Array, y: PyTree, params: PyTree) -> tuple[Array, Array]:
        """The KL's growth a unit of time, and where it is infinite instead."""
        found = [c for c in self._control(t, y, params) if c is not None]
        rate = sum(0.5 * _over_state(jnp.square(c.u)) for c in found)
        outside = found[0].outside
        for c in found[1:]:
            outside = outside | c.outside
        return jnp.asarray(rate), outside

    def _control(self, t: Array, y: PyTree, params: PyTree) -> list["_Control | None"]:
        """`u` with `diffusion u = drift - prior`, for each leaf that has noise."""
        if self.prior is None:
            raise ValueError("a path-space KL needs the prior's drift")
        f, h = (leaves_of(y, g(t, y, params)) for g in (self.drift, self.prior))
        sigma = leaves_of(y, self.diffusion(t, y, params))
        return [
            None if s is None else _solve_for_control(s, a, b)
            for s, a, b in zip(sigma, f, h, strict=True)
        ]


class _Control(NamedTuple):
    """The least `u` with `sigma u = f - h`, and the paths for which there is none."""

    u: Array
    outside: Array


def _solve_for_control(sigma: Array, f: Array, h: Array) -> _Control:
    dtype, eps = sigma.dtype, float(jnp.finfo(sigma.dtype).eps)
    # Half precision holds no squares of small noise, and there is no linear algebra in it.
    sigma, f, h = (x.astype(wider(jnp.float32, dtype)) for x in (sigma, f, h))
    difference = f - h
    size = lax.stop_gradient(jnp.abs(f) + jnp.abs(h))
    # An entry's gradient is rounded as its neighbours' are, which are in the same products.
    resolution = eps * (jnp.max(size, axis=-1, keepdims=True) if size.ndim else size)
    # Two drifts that agree but for their rounding agree.
    rounding = 100 * resolution
    # The reciprocal of its square, which is in the gradient, must be a number, and u over it one
    # of the given precision.
    least = max(float(jnp.finfo(sigma.dtype).tiny) ** 0.5, 2 * float(jnp.finfo(dtype).tiny))
    if sigma.ndim == f.ndim:
        # Noise too small to be seen beside the drifts: all that is left of `sigma u` is rounding.
        unseen = (jnp.abs(sigma) <= resolution) & (jnp.abs(difference) <= rounding)
        none = (jnp.abs(sigma) <= least) | unseen
        u = jnp.where(none, 0.0, difference / jnp.where(none, 1.0, sigma))
        left = jnp.where(none, jnp.abs(difference), 0.0)
        return _Control(u.astype(dtype), _any_over_state(left > rounding + least))
    largest = jnp.max(jnp.abs(sigma), axis=(-2, -1), keepdims=True)
    unseen = jnp.all(jnp.abs(difference) <= rounding, axis=-1)[..., None, None]
    unseen &= largest <= resolution[..., None]
    sigma = jnp.where((largest <= least) | unseen, 0.0, sigma)
    u = jnp.einsum("...md,...d->...m", jnp.linalg.pinv(sigma), difference)
    left = jnp.abs(difference - jnp.einsum("...dm,...m->...d", sigma, u))
    rounding += least + eps**0.5 * jnp.max(jnp.abs(difference), axis=-1, keepdims=True)
    return _Control(u.astype(dtype), _any_over_state(left > rounding))


def _any_over_state(x: Array) -> Array:
    return jnp.any(x, axis=-1) if x.ndim else x


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
