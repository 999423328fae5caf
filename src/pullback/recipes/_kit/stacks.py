"""Models of several seeds, measured."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree


@eqx.filter_jit
def one_by_one(measure: Callable[..., PyTree], models: PyTree, *shared: Any) -> PyTree:
    """`measure(model, *shared)` of each model of a stack, stacked, by one program.

    One after another, for stacked products are slow on a CPU. Every array of `models` has an axis
    for the seeds; a tuple gives each model inputs of its own.
    """
    arrays, rest = eqx.partition(models, eqx.is_array)
    return jax.lax.map(lambda one: measure(eqx.combine(one, rest), *shared), arrays)
