"""The axis along which examples lie."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def leading_axis(data: PyTree, *, name: str) -> int:
    """The length of the leading axis that all arrays of `data` share."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(data)]
    if not shapes or not all(shape and shape[0] == shapes[0][0] for shape in shapes):
        raise ValueError(
            f"`{name}` must be a PyTree of arrays with the same leading axis, the examples; got "
            f"arrays of the shapes {shapes}."
        )
    if shapes[0][0] == 0:
        raise ValueError(f"`{name}` must hold at least one example, got none.")
    return shapes[0][0]
