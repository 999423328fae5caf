"""Models of several seeds as one stack, measured one after another."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


@eqx.filter_jit
def made(make: Callable[..., Any], *inputs: Any, **settings: Any) -> Any:
    """`make(*inputs, **settings)` by one program, and not by one for each shape of its arrays."""
    return make(*inputs, **settings)


@eqx.filter_jit
def made_stack(make: Callable[..., Any], keys: Array, *inputs: Any, **settings: Any) -> Any:
    """`make(*inputs, **settings, key=key)` of each key, stacked, by one program for all of them."""
    return eqx.filter_vmap(lambda key: make(*inputs, **settings, key=key))(keys)


def stacked(models: Sequence[Any]) -> Any:
    """Models of one structure as one, each array with a leading axis."""
    arrays, rest = eqx.partition(list(models), eqx.is_array)
    return eqx.combine(jax.tree.map(lambda *of: jnp.stack(of), *arrays), rest[0])


def unstacked(models: Any) -> list[Any]:
    """The models of a stack: of each array the rows along its first axis."""
    arrays, rest = eqx.partition(models, eqx.is_array)
    return [eqx.combine(rows, rest) for rows in _rows(arrays)]


@jax.jit
def _rows(arrays: PyTree) -> list[PyTree]:
    count = len(jax.tree.leaves(arrays)[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i], arrays) for i in range(count)]


@eqx.filter_jit
def one_by_one(measure: Callable[..., PyTree], models: PyTree, *shared: Any) -> PyTree:
    """`measure(model, *shared)` of each model of a stack, stacked, by one program.

    One after another, for stacked products are slow on a CPU. Every array of `models` has an axis
    for the seeds; a tuple gives each model inputs of its own.
    """
    arrays, rest = eqx.partition(models, eqx.is_array)
    return jax.lax.map(lambda one: measure(eqx.combine(one, rest), *shared), arrays)
