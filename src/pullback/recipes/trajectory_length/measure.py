"""Random networks: how far they stretch a circle, and what labelings their layers reach."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from pullback.analysis.signals import (
    MeanField,
    circle,
    dichotomies,
    trajectory_lengths,
    transitions,
)
from pullback.nn import gaussian_init
from pullback.recipes._kit.stack import made

ACTIVATIONS: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "hard tanh": (jax.nn.hard_tanh, (2.0, 4.0)),
    "tanh": (jnp.tanh, (2.0, 4.0)),
    "ReLU": (jax.nn.relu, (2.0,)),  # the same at any other scale, but for a factor
}
"""By name, and the weight scales that they are measured at."""


def _net(
    width: int, depth: int, activation: Any, scale: jax.Array, *, key: jax.Array
) -> eqx.nn.MLP:
    net = eqx.nn.MLP(width, "scalar", width, depth, activation, use_bias=False, key=key)
    return gaussian_init(net, weight_scale=scale, key=key)


def stretched(
    width: int, depth: int, nets: int, points: int, seeds: Sequence[int]
) -> dict[str, dict[str, np.ndarray]]:
    """Of each activation and scale the lengths and sign changes, `[seed, layer]`, means over nets.

    Growth is that of a layer to the next, by the geometric mean over networks, and `theory` what
    mean-field theory says. Lengths are integrals of speeds: in the last layers at the larger scale
    chords between as many points would be too short.
    """
    found = {}
    for name, (activation, scales) in ACTIVATIONS.items():
        for scale in scales:
            rows = [
                _stretched(width, depth, activation, scale, nets, points, seed) for seed in seeds
            ]
            lengths, changes = (np.asarray(each) for each in zip(*rows, strict=True))
            theory = MeanField(activation)
            # A circle through two Gaussian points has a mean square of 1.
            q = theory.trajectory(0.0, scale, depth=depth, q=scale**2).q
            found[f"{name}, {scale:g}"] = {
                "length": np.exp(lengths),
                "growth": np.exp(np.diff(lengths, axis=1)),
                "transitions": changes,
                "theory": np.asarray(theory.growth(scale, q=q[1:])),
            }
    return found


def _stretched(
    width: int, depth: int, activation: Any, scale: float, nets: int, points: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    lengths, changes = [], []
    for each in jr.split(jr.key(seed), nets):
        net_key, path_key = jr.split(each)
        net = made(_net, width, depth, activation, jnp.asarray(scale), key=net_key)
        path = circle(*jr.normal(path_key, (2, width)))
        lengths.append(np.log(trajectory_lengths(net, path, num=points, method="jvp")))
        changes.append(transitions(net, path, num=points))
    return np.mean(lengths, axis=0), np.mean(changes, axis=0)


def labelings(
    width: int, depth: int, scale: float, inputs: int, points: int, seeds: Sequence[int]
) -> np.ndarray:
    """How many labelings a circle through each layer's weights reaches, `[seed, layer]`."""
    return np.asarray([_labelings(width, depth, scale, inputs, points, seed) for seed in seeds])


def _labelings(
    width: int, depth: int, scale: float, inputs: int, points: int, seed: int
) -> list[int]:
    key, x_key, other_key = jr.split(jr.key(seed), 3)
    one, other = (
        made(_net, width, depth, jax.nn.hard_tanh, jnp.asarray(scale), key=each)
        for each in (key, other_key)
    )
    x = jr.normal(x_key, (inputs, width))
    found = []
    for place in range(1, depth + 1):
        where = lambda net, place=place: net.layers[place].weight
        found.append(dichotomies(one, where, where(other), x, num=points))
    return found


def stretch(scale: float) -> float:
    """By how much a deep layer of hard tanh lengthens a path, in theory."""
    return float(MeanField(jax.nn.hard_tanh).growth(scale))
