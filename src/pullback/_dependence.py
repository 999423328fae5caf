"""What the value of a function and its derivative are computed from, by its jaxpr."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import PyTree

from pullback._entrywise import loses_entries


def depends_on(function: Callable[[PyTree], PyTree], x: PyTree) -> bool:
    """Whether any number in `function(x)` is computed from numbers of `x`.

    Reading its shape alone does not count.
    """
    jaxpr = jax.make_jaxpr(function)(x).jaxpr
    return any(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1])


def loses_gradients(function: Callable[[PyTree], PyTree], x: PyTree) -> bool:
    """Whether numbers of `function(x)` are computed from real arrays of `x`, with no derivative.

    Entry by entry where the function has a forward mode, else array by array. By the structure of
    the program, not by the numbers at `x`: a comparison with a parameter has no derivative by it,
    and a network has one even where it is zero.
    """
    moving, rest = eqx.partition(x, _is_real)
    held, rest = eqx.partition(rest, _is_array)
    given, treedef = jax.tree.flatten(moving)
    if not given:
        return False

    def value(given: list, held: PyTree) -> list:
        found = function(eqx.combine(jax.tree.unflatten(treedef, given), held, rest))
        return jax.tree.leaves(found)

    def pulled(cotangents: list, given: list, held: PyTree) -> tuple:
        return jax.vjp(lambda given: value(given, held), given)[1](cotangents)

    shapes = jax.eval_shape(value, given, held)
    forward = jax.make_jaxpr(value)(given, held).jaxpr
    backward = jax.make_jaxpr(pulled)(shapes, given, held).jaxpr
    _, used = dce_jaxpr(backward, [True] * len(backward.outvars))
    for i in range(len(shapes)):
        _, read = dce_jaxpr(forward, [i == j for j in range(len(shapes))])
        if any(read[: len(given)]) and not used[i]:
            return True
    try:
        return loses_entries(value, given, held)
    except TypeError:  # a derivative that is written backwards only
        return False


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)


def _is_real(leaf: Any) -> bool:
    return _is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)
