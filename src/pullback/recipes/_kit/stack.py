"""Models that were trained as one stack, one after another."""

from typing import Any

import equinox as eqx
import jax


def unstacked(models: Any) -> list[Any]:
    """The models of a stack: of each array the rows along its first axis."""
    arrays, rest = eqx.partition(models, eqx.is_array)
    count = len(jax.tree.leaves(arrays)[0])
    return [
        eqx.combine(jax.tree.map(lambda leaf, i=i: leaf[i], arrays), rest) for i in range(count)
    ]
