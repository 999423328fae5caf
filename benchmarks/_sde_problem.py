"""The neural SDE of `bench_sde.py`: its size, its weights and its functions."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

STEPS = 50


class Size(NamedTuple):
    """How many paths, of how many dimensions, through how many hidden layers of which width."""

    paths: int
    dims: int
    width: int
    hidden: int


SIZES = (Size(64, 4, 64, 1), Size(512, 16, 128, 1), Size(64, 4, 64, 2), Size(512, 16, 128, 2))


def problem(size: Size, seed: int = 0):
    """Layers of the drift and of the diffusion (each `hidden` hidden ones), and the start."""
    generator = np.random.default_rng(seed)
    widths = (size.dims, *[size.width] * size.hidden, size.dims)

    def layers():
        return [
            (generator.normal(size=(m, n)) / np.sqrt(m), np.zeros(n))
            for m, n in itertools.pairwise(widths)
        ]

    start = generator.normal(size=(size.paths, size.dims))
    return jax.tree.map(lambda x: x.astype(np.float32), ((layers(), layers()), start))


def network(layers, y):
    """A tanh network on the last axis."""
    for weight, bias in layers[:-1]:
        y = jnp.tanh(y @ weight + bias)
    weight, bias = layers[-1]
    return y @ weight + bias


def drift(t, y, layers):
    return network(layers[0], y)


def diffusion(t, y, layers):
    return jax.nn.sigmoid(network(layers[1], y))
