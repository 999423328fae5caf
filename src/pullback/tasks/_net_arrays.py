"""The arrays of a network by name, as a task keeps them, and the network that had them."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from pullback._on_device import on_device


def arrays_of(net: Any, name: str = "net") -> dict[str, np.ndarray]:
    """The arrays of a network; of None none.

    Args:
        net: any PyTree.
        name: in front of the place of each array in it.
    """
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(net, eqx.is_array))
    return {f"{name}{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}


def filled(shape: Any, arrays: dict[str, np.ndarray], name: str = "net") -> Any:
    """The network that had these arrays.

    Args:
        shape: the network with `jax.ShapeDtypeStruct` in the places of its arrays.
        arrays: of it, and maybe of others, as of `arrays_of`.
        name: as there.

    Raises:
        ValueError: they are not those of such a network.
    """

    def pick(path: tuple, leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        found = arrays[f"{name}{jax.tree_util.keystr(path)}"]
        # Where double precision is on now and was not then, or the other way, only sizes differ.
        if (found.shape, found.dtype.kind) != (leaf.shape, leaf.dtype.kind):
            raise ValueError(f"{found.dtype}{found.shape} stands where {leaf} is needed")
        return on_device(found)

    return jax.tree_util.tree_map_with_path(pick, shape)
