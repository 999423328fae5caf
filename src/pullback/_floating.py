"""Numbers that have a slope."""

import jax.numpy as jnp
from jaxtyping import Array


def require_floating(name: str, x: Array, remedy: str) -> None:
    """Whole numbers are refused: steps along a slope would be rounded away."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must be floating, got {x.dtype}: use `{name}.astype(float)`; {remedy}."
        )
