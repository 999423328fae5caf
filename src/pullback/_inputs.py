"""What networks ask of their sizes, and time-dependent ones of their inputs."""

import jax.numpy as jnp
from jaxtyping import Array

from pullback._sizes import positive as positive


def time_like(t: object, y: Array, shape: tuple[int | None, ...]) -> Array:
    """Time in the dtype of `y`, once `y` has proved to be one example. None is any size."""
    fits = y.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, y.shape, strict=True)
    )
    if not fits:
        wants = tuple("any" if size is None else size for size in shape)
        raise ValueError(
            f"`y` must be one example of shape {wants}; got {y.shape}. For a batch, use "
            "`jax.vmap(field, in_axes=(None, 0, None))`."
        )
    return jnp.asarray(t, y.dtype)
