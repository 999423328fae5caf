"""The scales of the weights that a network has now."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from pullback._plain_layers import check_whole


class WeightScales(NamedTuple):
    """Scales of every layer.

    Attributes:
        names: where the layers are in the model.
        weight: sigma_w, the root mean square of the weights times the root of the fan in.
        bias: sigma_b, the root mean square of the biases; 0 where there are none.
    """

    names: tuple[str, ...]
    weight: Float[np.ndarray, " layers"]
    bias: Float[np.ndarray, " layers"]


def weight_scales(model: Any) -> WeightScales:
    r"""The weight and bias scales that the dense layers and convolutions of a network have.

    $$ \sigma_w = \sqrt{\text{fan in} \cdot \overline{W^2}}, \qquad
       \sigma_b = \sqrt{\overline{b^2}} $$

    They are what `pullback.nn.gaussian_init` takes and `MeanField` asks for, whatever the law of
    the weights. Equinox's default is a weight scale of $1 / \sqrt 3$; Glorot's initialisation of
    square layers is 1, He's $\sqrt 2$.

    Args:
        model: any PyTree.

    Raises:
        TypeError: the weights of one are no numbers, as in a part of a model or within `jax.jit`.
        ValueError: it has no such layer, one whose weights or biases are not finite, or one within
            `eqx.nn.WeightNorm` or `eqx.nn.SpectralNorm`, whose weights have another scale than
            their array.

    Example:
        >>> import jax
        >>> net = eqx.nn.MLP(100, 1, 100, 2, key=jax.random.key(0))
        >>> print(weight_scales(net).weight[:2].round(2))
        [0.58 0.58]

    Source: Poole et al., arXiv 1606.05340, section 2.
    """
    layer, own_scale = eqx.nn.Linear | eqx.nn.Conv, eqx.nn.WeightNorm | eqx.nn.SpectralNorm
    stops = lambda node: isinstance(node, layer | own_scale)
    found = []
    for path, node in jax.tree_util.tree_leaves_with_path(model, is_leaf=stops):
        name = f"model{jax.tree_util.keystr(path)}"
        if isinstance(node, own_scale):
            raise ValueError(
                f"`{name}` is an eqx.nn.{type(node).__name__}, which sets the scale of its weights "
                "itself: give the layer that it stands for, with the weights that it computes."
            )
        if isinstance(node, layer):
            found += scales_of(name, node)
    if not found:
        raise ValueError("`model` must have an `eqx.nn.Linear` or an `eqx.nn.Conv`; it has none.")
    names, weight, bias = zip(*found, strict=True)
    return WeightScales(names, np.asarray(weight), np.asarray(bias))


def scales_of(name: str, layer: Any) -> list[tuple[str, float, float]]:
    """The name, weight scale and bias scale of a layer; of scanned ones, of each.

    Raises:
        TypeError: its weights or biases are no numbers.
        ValueError: they are not finite.
    """
    check_whole(name, layer)
    if isinstance(layer.weight, Tracer) or isinstance(layer.bias, Tracer):
        raise TypeError(
            f"`{name}` has weights that are being compiled or differentiated, and scales are "
            "numbers on the host: call this by itself."
        )
    spatial = layer.num_spatial_dims if isinstance(layer, eqx.nn.Conv) else 0
    weight = np.asarray(layer.weight, float)
    bias = np.zeros(weight.shape[:1]) if layer.bias is None else np.asarray(layer.bias, float)
    for what, numbers in {"weights": weight, "biases": bias}.items():
        if not np.isfinite(numbers).all():
            raise ValueError(
                f"`{name}` has {what} that are not finite: take the model as it was before they "
                "became so, or draw it anew with `pullback.nn.gaussian_init`."
            )
    if weight.ndim == 3 + spatial:  # scanned layers are one, with an axis of them in front
        parts = [(f"{name}[{at}]", weight[at], bias[at]) for at in range(len(weight))]
    else:
        parts = [(name, weight, bias)]
    root = lambda x: float(np.sqrt(np.mean(np.square(x))))
    fan_in = math.prod(weight.shape[-1 - spatial :])
    return [(name, root(w) * math.sqrt(fan_in), root(b)) for name, w, b in parts]
