"""What an estimator of the gradient of an expectation is."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ._law import Distribution


class AbstractEstimator(eqx.Module):
    """A way to estimate an expectation and, above all, its gradient."""

    @abc.abstractmethod
    def __call__(
        self,
        f: Callable[[Any, Any], Float[Array, ""]],
        q: Distribution,
        keys: Key[Array, " sample"],
        batch_size: int | None,
    ) -> Float[Array, ""]:
        """The mean of `f(z, q)` over one sample for each key.

        `jax.grad` of it is the estimator's gradient, with respect to the parameters of `q`, to what
        `f` closes over, and to the estimator's own arrays, if it has any.
        """


def each(
    function: Callable[[Key[Array, ""]], PyTree],
    keys: Key[Array, " sample"],
    batch_size: int | None,
) -> PyTree:
    """`function` of each key, with no more than `batch_size` of them in memory at once."""
    if batch_size is None or batch_size >= len(keys):
        return jax.vmap(function)(keys)
    return jax.lax.map(jax.checkpoint(function), keys, batch_size=batch_size)


@jax.custom_jvp
def attach(value: Float[Array, ""], point: PyTree, slope: PyTree) -> Float[Array, ""]:
    """`value`, with `slope` as its gradient with respect to `point`, added to what it has."""
    return value


@attach.defjvp
def _attach_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    value, _, slope = primals
    moved, apart, _ = tangents
    products = jax.tree.map(lambda s, d: jnp.sum(s * d).astype(value.dtype), slope, apart)
    return value, jax.tree.reduce(jnp.add, products, moved)


def attach_objective(value: Float[Array, ""], objective: Array) -> Float[Array, ""]:
    """`value`, with the gradient of `objective` added: downhill even where `value` is negated."""
    objective = _downhill(objective).astype(value.dtype)
    return attach(value, objective, jnp.ones_like(objective))


@jax.custom_vjp
def _downhill(objective: Array) -> Array:
    return objective


def _downhill_backward(_: None, cotangent: Array) -> tuple[Array]:
    # Who maximises an expectation negates it; the variance is still to be made small.
    return (jnp.abs(cotangent),)


_downhill.defvjp(lambda objective: (objective, None), _downhill_backward)
