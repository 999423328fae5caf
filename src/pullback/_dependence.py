"""What the value of a function and its derivative are computed from, by its jaxpr."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import PyTree


def depends_on(function: Callable[[PyTree], PyTree], x: PyTree) -> bool:
    """Whether any number in `function(x)` is computed from numbers of `x`.

    Reading its shape alone does not count.
    """
    jaxpr = jax.make_jaxpr(function)(x).jaxpr
    return any(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1])


def loses_gradients(function: Callable[[PyTree], PyTree], x: PyTree) -> bool:
    """Whether an array of `function(x)` is computed from real arrays of `x`, with no derivative.

    By the structure of the program, not by the numbers at `x`: a comparison with a parameter has no
    derivative by it, and a network has one even where it is zero.
    """
    moving, rest = eqx.partition(x, _is_real)
    given, treedef = jax.tree.flatten(moving)
    if not given:
        return False

    def value(moving: list) -> list:
        return jax.tree.leaves(function(eqx.combine(jax.tree.unflatten(treedef, moving), rest)))

    shapes = jax.eval_shape(value, given)
    forward = jax.make_jaxpr(value)(given).jaxpr
    backward = jax.make_jaxpr(lambda g, moving: jax.vjp(value, moving)[1](g))(shapes, given).jaxpr
    _, used = dce_jaxpr(backward, [True] * len(backward.outvars))
    return any(
        any(dce_jaxpr(forward, [i == j for j in range(len(shapes))])[1]) and not used[i]
        for i in range(len(shapes))
    )


def _is_real(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)
