"""Gaussian weights at a scale that does not depend on the width."""

import math
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from pullback._key import checked_key

M = TypeVar("M")

_OWN_SCALE = (eqx.nn.WeightNorm, eqx.nn.SpectralNorm)


def gaussian_init(
    model: M,
    *,
    weight_scale: ArrayLike,
    bias_scale: ArrayLike = 0.0,
    key: PRNGKeyArray,
) -> M:
    r"""The same network with Gaussian weights and biases in its dense layers and convolutions.

    $$ W_{ij} \sim \mathcal{N}\Big(0, \frac{\sigma_w^2}{\text{fan in}}\Big), \qquad
       b_i \sim \mathcal{N}(0, \sigma_b^2) $$

    Each `eqx.nn.Linear` and `eqx.nn.Conv`, wherever it stands in the PyTree, is drawn anew; the fan
    in of a convolution is the channels that a unit sees times the size of the kernel. All else
    stays as it is: normalising layers keep their scale and shift, and embeddings, recurrent cells,
    transposed convolutions and learned activations the values that they have.

    The weight scale is a standard deviation times the root of the fan in, $\sigma_w$, and not its
    square. Equinox's own default, uniform within 1 / sqrt(fan in), has $\sigma_w = 1/\sqrt 3$ and
    $\sigma_b = 1/\sqrt{3 \cdot \text{fan in}}$; He's initialisation is $\sigma_w = \sqrt 2$.
    `pullback.analysis.signals.critical_weight_scale` tells which one a deep network wants.

    Args:
        model: any PyTree.
        weight_scale: $\sigma_w$, 0 or more.
        bias_scale: $\sigma_b$, 0 or more; at 0 the biases are 0.
        key: for the draws.

    Raises:
        ValueError: a scale is negative or not finite; the model has no such layer, or one within
            `eqx.nn.WeightNorm` or `eqx.nn.SpectralNorm`, whose weights have another scale than
            their array.

    Example:
        >>> import jax
        >>> net = eqx.nn.MLP(8, 1, 1000, 2, key=jax.random.key(0))
        >>> net = gaussian_init(net, weight_scale=1.5, key=jax.random.key(1))
        >>> print(f"{net.layers[1].weight.std() * 1000**0.5:.2f}")
        1.50

    Source: Poole et al., Exponential expressivity in deep neural networks through transient chaos,
        arXiv 1606.05340, section 2.
    """
    key = checked_key(key)
    for name, scale in {"weight_scale": weight_scale, "bias_scale": bias_scale}.items():
        _check_scale(name, scale)
    stops = lambda node: (
        isinstance(node, eqx.nn.Linear | eqx.nn.Conv) or isinstance(node, _OWN_SCALE)
    )
    nodes, structure = jax.tree_util.tree_flatten_with_path(model, is_leaf=stops)
    drawn, count = [], 0
    for path, node in nodes:
        if isinstance(node, _OWN_SCALE):
            raise ValueError(
                f"`model{jax.tree_util.keystr(path)}` is an eqx.nn.{type(node).__name__}, which "
                "sets the scale of its weights itself: draw the layer before it is wrapped."
            )
        if isinstance(node, eqx.nn.Linear | eqx.nn.Conv):
            node = _drawn(node, weight_scale, bias_scale, jr.fold_in(key, count))
            count += 1
        drawn.append(node)
    if not count:
        raise ValueError("`model` must have an `eqx.nn.Linear` or an `eqx.nn.Conv`; it has none.")
    return jax.tree.unflatten(structure, drawn)


def _check_scale(name: str, scale: Any) -> None:
    dtype = scale.dtype if isinstance(scale, Array) else np.asarray(scale).dtype
    real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    if not real or np.ndim(scale) != 0:
        raise ValueError(f"`{name}` must be one number, got {scale!r}.")
    if not isinstance(scale, Tracer) and not (np.isfinite(scale) and scale >= 0):
        raise ValueError(f"`{name}` must be finite, and 0 or more, got {scale}.")


def _drawn(layer: Any, weight_scale: Any, bias_scale: Any, key: PRNGKeyArray) -> Any:
    spatial = layer.num_spatial_dims if isinstance(layer, eqx.nn.Conv) else 0
    # Counted from the end: a scanned network has an axis of layers in front.
    fan_in = math.prod(layer.weight.shape[-1 - spatial :])
    weight_key, bias_key = jr.split(key)

    def normal(key: PRNGKeyArray, like: Array, scale: Any) -> Array:
        return jnp.asarray(scale, like.dtype) * jr.normal(key, like.shape, like.dtype)

    weight = normal(weight_key, layer.weight, weight_scale) / math.sqrt(fan_in)
    layer = eqx.tree_at(lambda at: at.weight, layer, weight)
    if layer.bias is None:
        return layer
    return eqx.tree_at(lambda at: at.bias, layer, normal(bias_key, layer.bias, bias_scale))
