"""Layers that change a training image and leave a test image alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


class RandomCrop(eqx.Module):
    """Shift an image by up to `pad` pixels each way, and fill up with zeros.

    It does nothing in inference mode (`eqx.nn.inference_mode`).

    Args:
        pad: The largest shift, in pixels; 0 is none.
        inference: Whether to leave the image as it is.

    Raises:
        ValueError: `pad` is below 0.
        RuntimeError: It is called without a key outside of inference mode.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> RandomCrop(1)(jnp.eye(3), key=jr.key(0)).shape
        (3, 3)
    """

    pad: int = eqx.field(static=True)
    inference: bool = False

    def __check_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"`pad` must be 0 or more pixels, got {self.pad}.")

    def __call__(
        self, image: Float[Array, "height width"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "height width"]:
        """The image, shifted."""
        if self.inference or self.pad == 0:
            return image
        if key is None:
            raise RuntimeError(
                "RandomCrop needs a `key`; for a network that is not being trained, use "
                "`eqx.nn.inference_mode(network)`."
            )
        corner = jr.randint(key, (2,), 0, 2 * self.pad + 1)
        return jax.lax.dynamic_slice(jnp.pad(image, self.pad), corner, image.shape)
