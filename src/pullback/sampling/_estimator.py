"""What an estimator of the gradient of an expectation is."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from pullback._once import once

from ._law import Distribution
from ._orders import beside


class AbstractEstimator(eqx.Module):
    """A way to estimate an expectation and, above all, its gradient.

    One with parts that are learned has a property `learned_parts`, the PyTree of them, by which
    `pullback.train.JointLoss` finds what to train beside the model.
    """

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


@eqx.filter_custom_jvp
def _with_objective(value: Array, objective: Array, seen: PyTree) -> Array:
    return beside(value, objective)


@_with_objective.def_jvp
def _with_objective_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array | None]:
    value, objective, seen = primals
    moved, learned, _ = tangents
    if learned is not None:
        instead = (
            "differentiate with the estimator held (`pullback.sampling.hold(estimator)`), which "
            "is right to every order, or take `ScoreFunction` or `Enumeration`"
        )
        gate = once("the objective of a control variate", instead, seen)
        learned = (learned * gate.astype(learned.dtype)).astype(value.dtype)
        moved = learned if moved is None else moved + learned
    return _with_objective(value, objective, seen), moved


def attach_objective(
    value: Float[Array, ""], objective: Float[Array, ""], seen: PyTree
) -> Float[Array, ""]:
    """`value`, with the gradient of `objective` added: downhill even where `value` is negated.

    The objective is made of held arrays, so a second derivative by `seen`, the live ones, raises.
    """
    seen = eqx.filter(seen, eqx.is_inexact_array)
    return _with_objective(value, downhill(objective), seen)


@jax.custom_vjp
def downhill(objective: Array) -> Array:
    """The same, with a gradient that goes down even where what is made of it is negated."""
    return objective


def _downhill_backward(_: None, cotangent: Array) -> tuple[Array]:
    # Who maximises an expectation negates it; the variance is still to be made small.
    return (jnp.abs(cotangent),)


downhill.defvjp(lambda objective: (objective, None), _downhill_backward)
