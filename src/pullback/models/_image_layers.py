"""The first and the last layers of a network of images."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from pullback.nn import RandomCrop, convolve


def linear_stem(inputs: int, dim: int, key: PRNGKeyArray) -> eqx.nn.Sequential:
    return eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(inputs, dim, key=key)])


def conv_stem(channels: int, crop: int, key: PRNGKeyArray) -> eqx.nn.Sequential:
    first, second, third = jr.split(key, 3)
    return eqx.nn.Sequential(
        [
            RandomCrop(crop),
            eqx.nn.Lambda(_one_channel),
            as_product(eqx.nn.Conv2d(1, channels, 3, key=first)),
            *norm_relu(channels),
            as_product(eqx.nn.Conv2d(channels, channels, 4, stride=2, padding=1, key=second)),
            *norm_relu(channels),
            as_product(eqx.nn.Conv2d(channels, channels, 4, stride=2, padding=1, key=third)),
        ]
    )


def conv_head(channels: int, classes: int, key: PRNGKeyArray) -> eqx.nn.Sequential:
    linear = eqx.nn.Linear(channels, classes, key=key)
    return eqx.nn.Sequential([*norm_relu(channels), eqx.nn.Lambda(_mean_pixel), linear])


def as_product(conv: eqx.nn.Conv2d) -> eqx.nn.Lambda:
    """The layer called as one matrix product, for then it trains faster on a CPU."""
    return eqx.nn.Lambda(eqx.Partial(convolve, conv))


def norm_relu(channels: int) -> list[Any]:
    return [eqx.nn.GroupNorm(min(32, channels), channels), eqx.nn.Lambda(jax.nn.relu)]


def _one_channel(image: Array) -> Array:
    return image[None]


def _mean_pixel(image: Array) -> Array:
    return jnp.mean(image, axis=(-2, -1))
