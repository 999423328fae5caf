"""The memory of a compiled gradient."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax


def gradient_memory(loss: Callable[[Any], jax.Array], model: Any) -> float:
    """MiB that the compiled gradient of `loss(model)` needs beyond its inputs and outputs."""
    params, rest = eqx.partition(model, eqx.is_array)
    gradient = jax.jit(jax.grad(lambda params: loss(eqx.combine(params, rest))))
    analysis: Any = gradient.lower(params).compile().memory_analysis()
    # Not every backend tells.
    return float("nan") if analysis is None else analysis.temp_size_in_bytes / 2**20
