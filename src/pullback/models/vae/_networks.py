"""Encoders and decoders of arrays."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key


class DenseNet(eqx.Module):
    """A fully connected network between arrays of any two shapes.

    Args:
        inputs: shape of the input.
        outputs: shape of the output.
        width: of each hidden layer.
        depth: hidden layers; 0 is a linear map.
        activation: between the layers.
        key: for the weights.
    """

    net: eqx.nn.MLP
    outputs: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        width: int,
        depth: int,
        activation: Callable = jax.nn.elu,
        *,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        _check_sizes(inputs=inputs, outputs=outputs, width=(width,))
        sizes = (math.prod(inputs), math.prod(outputs))
        self.net = eqx.nn.MLP(*sizes, width, depth, activation, key=key)
        self.outputs = tuple(outputs)

    def __call__(self, x: Array) -> Float[Array, "..."]:
        flat = x.ravel()
        if not jnp.issubdtype(flat.dtype, jnp.inexact):
            flat = flat.astype(self.net.layers[0].weight.dtype)
        return self.net(flat).reshape(self.outputs)


class ConvEncoder(eqx.Module):
    """Convolutions that halve an image again and again, and a linear map.

    Args:
        image: shape of the input, `(channels, height, width)`; height and width divide by
            $2^n$, for n layers.
        outputs: shape of the output.
        channels: of each layer, 4x4 with stride 2.
        activation: after each.
        key: for the weights.

    Raises:
        ValueError: the image cannot be halved so often.
    """

    convs: tuple[eqx.nn.Conv2d, ...]
    last: eqx.nn.Linear
    activation: Callable = eqx.field(static=True)
    outputs: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        image: tuple[int, int, int],
        outputs: tuple[int, ...],
        channels: tuple[int, ...] = (32, 64),
        activation: Callable = jax.nn.relu,
        *,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        small = _halved(image, channels)
        keys = jr.split(key, len(channels) + 1)
        self.convs = tuple(
            eqx.nn.Conv2d(a, b, 4, stride=2, padding=1, key=k)
            for a, b, k in zip((image[0], *channels), channels, keys, strict=False)
        )
        size = channels[-1] * small[0] * small[1]
        self.last = eqx.nn.Linear(size, math.prod(outputs), key=keys[-1])
        self.activation = activation
        self.outputs = tuple(outputs)

    def __call__(self, x: Float[Array, "channels height width"]) -> Float[Array, "..."]:
        for conv in self.convs:
            x = self.activation(conv(x))
        return self.last(x.ravel()).reshape(self.outputs)


class ConvDecoder(eqx.Module):
    """The mirror of `ConvEncoder`: a linear map, and convolutions that double.

    Args:
        latent: length of z.
        image: shape of the output, `(channels, height, width)`.
        channels: of each layer's input, from the smallest image to the largest.
        activation: between the layers.
        key: for the weights.

    Raises:
        ValueError: the image cannot be halved so often.
    """

    first: eqx.nn.Linear
    convs: tuple[eqx.nn.ConvTranspose2d, ...]
    activation: Callable = eqx.field(static=True)
    small: tuple[int, int, int] = eqx.field(static=True)

    def __init__(
        self,
        latent: int,
        image: tuple[int, int, int],
        channels: tuple[int, ...] = (64, 32),
        activation: Callable = jax.nn.relu,
        *,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        self.small = (channels[0], *_halved(image, channels))
        keys = jr.split(key, len(channels) + 1)
        self.first = eqx.nn.Linear(latent, math.prod(self.small), key=keys[-1])
        self.convs = tuple(
            eqx.nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, key=k)
            for a, b, k in zip(channels, (*channels[1:], image[0]), keys, strict=False)
        )
        self.activation = activation

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, "channels height width"]:
        x = self.first(z).reshape(self.small)
        for conv in self.convs:
            x = conv(self.activation(x))
        return x


def _halved(image: tuple[int, int, int], channels: tuple[int, ...]) -> tuple[int, int]:
    _check_sizes(image=image, channels=channels)
    by = 2 ** len(channels)
    if image[1] % by or image[2] % by:
        raise ValueError(
            f"`image` must have sides that divide by {by} for {len(channels)} layers, got "
            f"{image[1]} x {image[2]}: give fewer `channels`, or pad the images."
        )
    return image[1] // by, image[2] // by


def _check_sizes(**sizes: tuple[int, ...]) -> None:
    for name, value in sizes.items():
        if not value or any(size < 1 for size in value):
            raise ValueError(f"`{name}` must be of sizes of 1 or more, got {value}.")
