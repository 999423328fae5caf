"""Whether the value of a function is computed from its argument."""

from collections.abc import Callable

import jax
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import PyTree


def depends_on(function: Callable[[PyTree], PyTree], x: PyTree) -> bool:
    """Whether any number in `function(x)` is computed from numbers of `x`, by its jaxpr.

    Reading its shape alone does not count.
    """
    jaxpr = jax.make_jaxpr(function)(x).jaxpr
    return any(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1])
