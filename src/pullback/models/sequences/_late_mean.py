"""The mean of the weights that a training ends with, kept beside an optimiser."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree


class LateMean(NamedTuple):
    """Weights after so many steps, and from some step on their mean."""

    step: Int[Array, ""]
    weights: PyTree


def late_mean(first: int) -> optax.GradientTransformation:
    """Keeps the mean of the weights after step `first` and all later ones, and changes no update.

    It comes last in a chain. After each step before `first` it has the weights as they are.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization,
    arXiv 1803.05407.
    """

    def init(params: PyTree) -> LateMean:
        return LateMean(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, LateMean]:
        step = state.step + 1
        count = jnp.maximum(step - first + 1, 1)
        new = optax.apply_updates(params, updates)
        mean = lambda old, new: new + (old - new) * (1 - 1 / count.astype(new.dtype))
        return updates, LateMean(step, jax.tree.map(mean, state.weights, new))

    return optax.GradientTransformation(init, update)
