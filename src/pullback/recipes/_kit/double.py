"""Numbers that are measured in float64, whatever the run's own precision."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp


def double(tree: Any) -> Any:
    """The tree in float64; only inside of `jax.enable_x64`."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float64) if eqx.is_inexact_array_like(leaf) else leaf,
        tree,
        is_leaf=eqx.is_array_like,
    )
