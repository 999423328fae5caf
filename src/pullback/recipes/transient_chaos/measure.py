"""A circle through random networks, and gradients on their way back."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from pullback.analysis.signals import MeanField, manifold_geometry
from pullback.nn import gaussian_init, hidden_states
from pullback.recipes._kit.stack import one_by_one
from pullback.recipes.transient_chaos.models import THEORY_OF, Config


def measured(config: Config, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Of every random network: by scale and seed, layers along the last axis."""
    theory = MeanField(THEORY_OF)
    scales = jnp.asarray(config.weight_scales)
    fixed = theory.fixed_point(scales, config.bias_scale)
    keys = jnp.stack([jr.key(seed) for seed in seeds])
    many = lambda each: jnp.repeat(each, len(seeds))
    given = (jnp.tile(keys, len(scales)), many(scales), many(fixed))
    size = (config.bias_scale, config.width, config.depth, config.points)
    found = one_by_one(_of_network, given, *size)
    return {
        name: np.asarray(rows).reshape(len(scales), len(seeds), -1) for name, rows in found.items()
    }


def foretold(config: Config) -> dict[str, np.ndarray]:
    """What theory says, by scale."""
    theory, scales = MeanField(THEORY_OF), np.asarray(config.weight_scales)
    curve = theory.curvature(scales, config.bias_scale, depth=config.depth)
    return {
        "chi": np.asarray(theory.chi(scales, config.bias_scale)),
        "metric": np.asarray(curve.metric),
        "turning": np.asarray(curve.turning),
    }


def phase_diagram(bias_scales: np.ndarray, weight_scales: np.ndarray) -> np.ndarray:
    """chi_1 on a grid, `[bias, weight]`."""
    theory = MeanField(THEORY_OF)
    return np.asarray(theory.chi(weight_scales[None], bias_scales[:, None]))


def slopes(metric: np.ndarray) -> np.ndarray:
    """Of the logarithm by the layer, a straight line through all."""
    layers = np.arange(metric.shape[-1])
    rows = np.log(metric).reshape(-1, len(layers))
    return np.polyfit(layers, rows.T, 1)[0].reshape(metric.shape[:-1])


def _of_network(
    given: tuple[PRNGKeyArray, Array, Array], bias_scale: float, width: int, depth: int, points: int
) -> dict[str, Array]:
    key, scale, q = given
    keys = jr.split(key, 5)
    net = eqx.nn.MLP(width, width, width, depth - 2, THEORY_OF, key=keys[0])
    net = gaussian_init(net, weight_scale=scale, bias_scale=bias_scale, key=keys[1])
    plane = jnp.linalg.qr(jr.normal(keys[2], (width, 2)))[0]

    def circle(t: Array) -> Array:
        return jnp.sqrt(width * q) * (plane @ jnp.stack([jnp.cos(t), jnp.sin(t)]))

    # The circle is the first layer, so that it starts at the variance that layers come to.
    layers = lambda h: (h, *hidden_states(net, THEORY_OF(h)).pre)
    found = manifold_geometry(layers, circle, jnp.linspace(0, 2 * jnp.pi, points + 1))
    inputs = jnp.sqrt(q) * jr.normal(keys[3], (8, width))
    readouts = jr.normal(keys[4], (8, width))
    squares = jax.vmap(lambda h, v: _gradients(net, h, v))(inputs, readouts)
    return {
        "metric": found.metric[:, :-1].mean(axis=1),
        "turning": found.turning,
        "gradient": squares.mean(axis=0),
    }


def _gradients(net: Any, h: Array, readout: Array) -> Array:
    """Squared gradients of a readout of the last layer, by what is added to each layer."""

    def value(added: list[Array]) -> Array:
        x = h + added[0]
        for layer, more in zip(net.layers, added[1:], strict=True):
            x = layer(THEORY_OF(x)) + more
        return readout @ x

    found = jax.grad(value)([jnp.zeros_like(h)] * (len(net.layers) + 1))
    return jnp.stack([each @ each for each in found])
