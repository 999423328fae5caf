"""What networks ask of their sizes, and time-dependent ones of their inputs."""

import numbers

import jax.numpy as jnp
from jaxtyping import Array


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


def positive(**sizes: object) -> None:
    """Raise for a size that is no whole number, or below 1, by its name."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral):
            raise TypeError(f"`{name}` must be a whole number, got {size!r}.")
        if size < 1:
            raise ValueError(f"`{name}` must be 1 or more, got {size}.")
