"""A convolution of one image, as one matrix product."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = Sequence[tuple[int, int]]


def convolve(
    weight: Float[Array, "out channels rows columns"],
    image: Float[Array, "channels height width"],
    padding: Padding,
    stride: int = 1,
) -> Float[Array, "out high wide"]:
    """The cross-correlation of an image with each kernel.

    Inside a loop XLA's convolution is several times slower on a CPU than outside of one, and one
    whose kernels have a batch axis, as those of a stack of models have, is slower everywhere. Its
    matrix product is neither.
    """
    out, channels, rows, columns = weight.shape
    padded = jnp.pad(image, ((0, 0), *padding))
    high = (padded.shape[1] - rows) // stride + 1
    wide = (padded.shape[2] - columns) // stride + 1
    shifts = [
        padded[
            :, i : i + (high - 1) * stride + 1 : stride, j : j + (wide - 1) * stride + 1 : stride
        ]
        for i in range(rows)
        for j in range(columns)
    ]
    patches = jnp.stack(shifts, axis=1)
    return jnp.tensordot(
        weight.reshape(out, channels, rows * columns), patches, axes=[(1, 2), (0, 1)]
    )
