"""An autoregressive decoder of images."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.models.likelihoods import AbstractLikelihood

from ._autoregressive import AbstractAutoregressiveDecoder, draw_in_order
from ._networks import DenseNet


class PixelCNN(AbstractAutoregressiveDecoder):
    r"""Masked convolutions: the parameters of a pixel see z and the pixels before it.

    $$ p(x | z) = \prod_i p(x_i \mid x_{<i}, z), \qquad \text{i by rows, from the top left} $$

    The channels of one pixel are independent given what is before it. A pixel sees at most
    `reach` $\times$ (`depth` + 1) rows up, and, as with any plain masked convolution, misses a
    corner up to the right.

    Args:
        image: shape of x, `(channels, height, width)`.
        latent: length of z.
        likelihood: of x.
        width: channels of the hidden layers.
        depth: masked layers after the first.
        reach: how far each layer looks, in pixels.
        levels: x is divided by it on the way in, so that it lies in [0, 1].
        z_width: hidden units that z goes through; None: `width`. Where they are few, pixels cannot
            be told much of z, and a rate that is asked for is spent in vain.
        key: for the weights.

    Source: van den Oord et al., Pixel Recurrent Neural Networks, arXiv 1601.06759, section 3.4;
    conditioned as in arXiv 1606.05328, section 2.3.
    """

    from_z: DenseNet
    first: "_MaskedConv"
    layers: tuple["_MaskedConv", ...]
    last: Float[Array, "out width"]
    image: tuple[int, int, int] = eqx.field(static=True)
    outputs: tuple[int, ...] = eqx.field(static=True)
    levels: float = eqx.field(static=True)

    def __init__(
        self,
        image: tuple[int, int, int],
        latent: int,
        likelihood: AbstractLikelihood,
        width: int = 32,
        depth: int = 3,
        reach: int = 2,
        levels: float | int = 1.0,
        z_width: int | None = None,
        *,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        z_width = width if z_width is None else z_width
        if depth < 0 or min(reach, width, z_width) < 1:
            raise ValueError(
                "`width`, `reach` and `z_width` must be 1 or more and `depth` 0 or more, got "
                f"{width}, {reach}, {z_width} and {depth}."
            )
        z_key, first, last, *keys = jr.split(key, depth + 3)
        self.from_z = DenseNet((latent,), (width, *image[1:]), z_width, 1, key=z_key)
        self.first = _MaskedConv(image[0], width, reach, own=False, key=first)
        self.layers = tuple(_MaskedConv(width, width, reach, own=True, key=k) for k in keys)
        self.outputs = likelihood.params_shape(image)
        out = math.prod(self.outputs) // math.prod(image[1:])
        self.last = jr.normal(last, (out, width)) / math.sqrt(width)
        self.image = image
        self.levels = float(levels)

    def __call__(self, z: Float[Array, " latent"], x: Array) -> Float[Array, "..."]:
        x = x.astype(self.last.dtype) / self.levels
        h = self.first(x) + self.from_z(z)
        for layer in self.layers:
            h = h + layer(jax.nn.relu(h))
        out = jnp.tensordot(self.last, jax.nn.relu(h), axes=1)
        channels, height, width = self.image
        out = out.reshape(channels, -1, height, width)
        return jnp.moveaxis(out, 1, -1).reshape(self.outputs)

    def sample(self, z: Float[Array, " latent"], likelihood: Any, *, key: PRNGKeyArray) -> Array:
        """One x, pixel by pixel: as many evaluations of the network as there are pixels."""
        key = checked_key(key)
        _, height, width = self.image
        order = jnp.broadcast_to(jnp.arange(height * width).reshape(height, width), self.image)
        return draw_in_order(self, z, likelihood, order, height * width, self.last.dtype, key=key)


class _MaskedConv(eqx.Module):
    """A convolution of the pixels above and to the left, and, if `own`, of the pixel itself.

    It is one matrix product of shifted images: in a training loop on a CPU, XLA's own convolution
    is several times slower.
    """

    weight: Float[Array, "out taps inputs"]
    bias: Float[Array, " out"]
    taps: tuple[tuple[int, int], ...] = eqx.field(static=True)
    reach: int = eqx.field(static=True)

    def __init__(self, inputs: int, out: int, reach: int, *, own: bool, key: PRNGKeyArray):
        above = [(i, j) for i in range(-reach, 0) for j in range(-reach, reach + 1)]
        left = [(0, j) for j in range(-reach, 1 if own else 0)]
        self.taps = (*above, *left)
        self.reach = reach
        scale = 1 / np.sqrt(len(self.taps) * inputs)
        self.weight = scale * jr.normal(key, (out, len(self.taps), inputs))
        self.bias = jnp.zeros(out)

    def __call__(self, x: Float[Array, "inputs height width"]) -> Float[Array, "out height width"]:
        _, height, width = x.shape
        r = self.reach
        padded = jnp.pad(x, ((0, 0), (r, 0), (r, r)))
        shifted = [padded[:, r + i : r + i + height, r + j : r + j + width] for i, j in self.taps]
        out = jnp.tensordot(self.weight, jnp.stack(shifted), axes=2)
        return out + self.bias[:, None, None]
