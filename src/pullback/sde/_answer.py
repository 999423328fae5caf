"""What a solve found, and how it ended."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from pullback.ode import Result, Stats


class Answer(NamedTuple):
    """The outputs of a solve, with time as the leading axis, and its cost."""

    ys: PyTree
    kl: Array | None
    code: Array
    t_reached: Array
    stats: Stats


def code_of(ys: PyTree, kl: Array | None) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """The result code of outputs that are there, and the last row before one is not finite."""
    finite = _rows(ys, jnp.isfinite)
    code = jnp.where(jnp.all(finite), int(Result.SUCCESSFUL), int(Result.NON_FINITE))
    if kl is not None:
        known = finite & _rows(kl, jnp.isfinite)
        infinite = jnp.all(finite & _rows(kl, lambda x: ~jnp.isnan(x)))
        failed = jnp.where(infinite, int(Result.INFINITE_KL), int(Result.NON_FINITE))
        code, finite = jnp.where(jnp.all(known), int(Result.SUCCESSFUL), failed), known
    last = jnp.sum(jnp.cumprod(finite.astype(jnp.int32))) - 1
    return code.astype(jnp.int32), jnp.maximum(last, 0)


def _rows(x: PyTree, holds: Callable[[Array], Array]) -> Bool[Array, " times"]:
    """For each time, whether `holds` of every number."""
    leaves = jax.tree.leaves(x)
    result = jnp.ones(leaves[0].shape[0], bool)
    for leaf in leaves:
        result &= jnp.all(holds(leaf), axis=tuple(range(1, leaf.ndim)))
    return result
