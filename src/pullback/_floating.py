"""Numbers that have a slope."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def at_least_float32(dtype: Any) -> Any:
    """The dtype to add up in: half precision has too few digits and too small a range."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def as_floating(x: Array, dtype: Any) -> Array:
    """Whole numbers and booleans in a dtype of their user; what has a slope is left as it is."""
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(dtype)


def require_floating(name: str, x: Array | np.ndarray, remedy: str) -> None:
    """Whole numbers are refused: steps along a slope would be rounded away."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must be floating, got {x.dtype}: use `{name}.astype(float)`; {remedy}."
        )
