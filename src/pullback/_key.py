"""What a random key is."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray


def checked_key(key: Any) -> PRNGKeyArray:
    """`key`, if it is one random key: of `jax.random.key`, or the two numbers of `PRNGKey`."""
    shape, dtype = getattr(key, "shape", None), getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if (typed and shape == ()) or (dtype == np.uint32 and shape == (2,)):
        return key
    got = repr(key) if dtype is None else f"{dtype}{list(shape or ())}"
    remedy = "jax.random.key(0)"
    if isinstance(key, int):
        remedy = f"jax.random.key({key})"
    elif typed:
        remedy = "one of them, or jax.vmap over them"
    raise TypeError(f"key must be one random key of JAX's, got {got}: give {remedy}")
