"""A convolution of one image, as one matrix product."""

from collections.abc import Sequence

import equinox as eqx
import jax
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
    return jnp.tensordot(
        weight.reshape(out, channels, rows * columns),
        patches(padded, (rows, columns), (stride, stride)),
        axes=[(1, 2), (0, 1)],
    )


def patches(
    padded: Float[Array, "channels height width"],
    kernel: Sequence[int],
    stride: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
) -> Float[Array, "channels places high wide"]:
    """What a kernel sees of an image wherever it lies, by its places, row by row."""
    sizes = [
        (length - step * (size - 1) - 1) // by + 1
        for length, size, by, step in zip(padded.shape[1:], kernel, stride, dilation, strict=True)
    ]
    along = lambda axis, place: slice(
        place * dilation[axis],
        place * dilation[axis] + (sizes[axis] - 1) * stride[axis] + 1,
        stride[axis],
    )
    shifts = [
        padded[:, along(0, i), along(1, j)] for i in range(kernel[0]) for j in range(kernel[1])
    ]
    return jnp.stack(shifts, axis=1)


def patches_of(
    layer: eqx.nn.Conv2d, image: Float[Array, "channels height width"]
) -> Float[Array, "channels places high wide"]:
    """What the kernels of a layer without groups see of an image, padded as the layer pads it."""
    pads = layer.padding
    if isinstance(pads, str):
        reach = [
            step * (size - 1) + 1
            for size, step in zip(layer.kernel_size, layer.dilation, strict=True)
        ]
        pads = jax.lax.padtype_to_pads(image.shape[1:], reach, layer.stride, pads)
    mode = _MODES[layer.padding_mode]
    padded = jnp.pad(image, ((0, 0), *pads), mode=mode)
    return patches(padded, layer.kernel_size, layer.stride, layer.dilation)


_MODES = {"ZEROS": "constant", "REFLECT": "reflect", "REPLICATE": "edge", "CIRCULAR": "wrap"}
