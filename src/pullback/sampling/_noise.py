"""The noise that categories are made of."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

# JAX's quick Gumbel noise ends at 16: classes of probability below 1e-7 never come.
_MANY = 4096


def wide(dtype: Any) -> Any:
    """The dtype to compute noise in: 16 bits resolve neither its tails nor its middle."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def gumbel(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Standard Gumbel noise, always finite."""
    mode = "high" if shape and shape[-1] >= _MANY else "low"
    return jr.gumbel(key, shape, wide(dtype), mode=mode).astype(dtype)


def logistic(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Standard logistic noise, always finite: the difference of two Gumbels."""
    return jr.logistic(key, shape, wide(dtype)).astype(dtype)
