"""Networks of the players of a game, and their optimiser."""

from typing import Any

import equinox as eqx
import jax
import optax
from jaxtyping import Array, PRNGKeyArray

from pullback.nn import gaussian_init


def leaky(x: Array) -> Array:
    """A leak of a tenth."""
    return jax.nn.leaky_relu(x, 0.1)


def mlp(
    inside: int, out: Any, width: int, depth: int, key: PRNGKeyArray, *, normalise: bool = False
) -> eqx.nn.Sequential:
    """Dense layers whose signal neither grows nor fades; of encoders and decoders normalised.

    Papers normalise over batches, which is no function of one example. By the size of each hidden
    layer of one does as well, and without it some seeds never find more than a mode.
    """
    layers: list[Any] = []
    for number in range(depth):
        layers.append(eqx.nn.Linear(width if number else inside, width, key=key))
        if normalise:
            layers.append(eqx.nn.RMSNorm(width, use_weight=False, use_bias=False))
        layers.append(eqx.nn.Lambda(leaky))
    layers.append(eqx.nn.Linear(width, out, key=key))
    return gaussian_init(eqx.nn.Sequential(layers), weight_scale=2**0.5, key=key)


def adam(rate: float, steps: int) -> optax.GradientTransformation:
    """As papers have it, with a rate that falls to 0."""
    return optax.adam(optax.cosine_decay_schedule(rate, steps), b1=0.5)
