"""Models of several seeds as one stack, measured one after another."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def stacked(models: Sequence[Any]) -> Any:
    """Models of one structure as one, each array with a leading axis."""
    arrays, rest = eqx.partition(list(models), eqx.is_array)
    return eqx.combine(jax.tree.map(lambda *of: jnp.stack(of), *arrays), rest[0])


def unstacked(models: Any) -> list[Any]:
    """The models of a stack: of each array the rows along its first axis."""
    arrays, rest = eqx.partition(models, eqx.is_array)
    count = len(jax.tree.leaves(arrays)[0])
    return [
        eqx.combine(jax.tree.map(lambda leaf, i=i: leaf[i], arrays), rest) for i in range(count)
    ]


@eqx.filter_jit
def one_by_one(measure: Callable[..., PyTree], models: PyTree, *shared: Any) -> PyTree:
    """`measure(model, *shared)` of each model of a stack, stacked, by one program.

    One after another, for stacked products are slow on a CPU. Every array of `models` has an axis
    for the seeds; a tuple gives each model inputs of its own.
    """
    arrays, rest = eqx.partition(models, eqx.is_array)
    return jax.lax.map(lambda one: measure(eqx.combine(one, rest), *shared), arrays)
