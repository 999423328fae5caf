"""NumPy's arrays as JAX's, which share no memory with them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

_LARGE = 2**20  # bytes


def on_device(array: Any, dtype: Any = None) -> Array:
    """An array of JAX, in JAX's own dtype of that kind; one of NumPy is copied.

    `jnp.asarray` compiles a program for each shape, which small trainings wait for. To put an array
    there compiles none, but shares the memory of one that happens to lie on 64 bytes, whatever
    `may_alias` says: what its owner wrote to it later would be read. So a small one is copied
    first, and a large one, of which two copies may not fit, takes the program.
    """
    if isinstance(array, jax.Array) and dtype in (None, array.dtype):
        return array
    if isinstance(array, jax.Array) or np.asarray(array).nbytes > _LARGE:
        return jnp.asarray(array, dtype)
    return jax.device_put(np.array(array, dtype))
