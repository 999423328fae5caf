"""A convolution whose kernels respond to hyperparameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key

from ._hyper_layer import (
    AbstractHyperLayer,
    check_plain,
    fresh_gate,
    fresh_response,
    frozen_layer,
    opened,
    response_of,
)
from ._patches import convolve


class HyperConv2d(AbstractHyperLayer):
    r"""A convolution of which each kernel moves along a direction of its own.

    $$ y_o = W_o * x + b_o + (V \lambda)_o\, W'_o * x + (C \lambda)_o\, b'_o $$

    `HyperLinear` with a gate for each channel that comes out. A convolution of stride 1 or of one
    stride both ways, without dilation and groups and padded with zeros, is one matrix product over
    patches: inside of a loop XLA's convolution is several times slower on a CPU.

    Args:
        layer: W and b, an `eqx.nn.Conv2d`.
        count: entries of $\lambda$.
        centred: as for `HyperLinear`.
        key: as for `HyperLinear`.

    Attributes:
        general: W and b.
        response: W' and b'.
        weight_gate: V.
        bias_gate: C, or None without a bias.
        gate: $\lambda$, zeros at first; `respond` puts it there.

    Raises:
        ValueError: `count` is below 1.
        TypeError: `layer` is another one.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> plain = eqx.nn.Conv2d(1, 2, 3, padding=1, key=jax.random.key(0))
        >>> layer, x = HyperConv2d(plain, 4, key=jax.random.key(1)), jnp.ones((1, 5, 5))
        >>> bool(jnp.allclose(layer(x), plain(x), atol=1e-6))
        True

    Source: MacKay et al., Self-Tuning Networks, arXiv 1903.03088, section 3.2; Bae and Grosse,
        Delta-STN, arXiv 2010.13514, for the centre.
    """

    general: eqx.nn.Conv2d
    response: eqx.nn.Conv2d
    weight_gate: Float[Array, "*stack out count"]
    bias_gate: Float[Array, "*stack out count"] | None
    gate: Float[Array, "*stack count"]
    centred: bool = eqx.field(static=True)
    at_zero: bool

    def __init__(
        self, layer: eqx.nn.Conv2d, count: int, *, centred: bool = True, key: PRNGKeyArray
    ):
        keys = jr.split(checked_key(key))
        positive(count=count)
        check_plain(layer, eqx.nn.Conv2d)
        self.general, self.centred, self.at_zero = layer, centred, False
        self.response = fresh_response(layer, key=keys[0])
        self.weight_gate, self.bias_gate, self.gate = fresh_gate(
            layer, count, centred=centred, key=keys[1]
        )

    def __call__(
        self, x: Float[Array, "channels height width"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "out high wide"]:
        """Apply the layer, as its gate has it, to one image; `key` is ignored, as Equinox's."""
        y, rows = _convolved(self.general, x), _convolved(self.response, x)
        # A gate is of a channel, and what it opens of its pixels.
        gates = jnp.broadcast_to((self.weight_gate @ self.gate)[:, None, None], rows.shape)
        y = y + opened(gates, rows, at_zero=self.at_zero)
        bias, shift = self.general.bias, self.response.bias
        if self.bias_gate is None or bias is None or shift is None:
            return y
        gates = (self.bias_gate @ self.gate)[:, None, None]
        return y + bias + opened(gates, shift, at_zero=self.at_zero)

    def frozen(self) -> eqx.nn.Conv2d:
        """The plain layer that this one is at its gate."""
        return frozen_layer(self)

    def responds(self) -> "HyperConv2d":
        """True at W', b', V and C."""
        return response_of(self)


def _convolved(
    layer: eqx.nn.Conv2d, x: Float[Array, "channels height width"]
) -> Float[Array, "out high wide"]:
    """What the layer gives of an image, without its bias."""
    row, column = layer.stride
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "ZEROS"
    if not plain or row != column:
        if layer.bias is not None:
            layer = eqx.tree_at(lambda at: at.bias, layer, jnp.zeros_like(layer.bias))
        return layer(x)
    if x.ndim != 3 or x.shape[0] != layer.in_channels:
        raise ValueError(
            f"`x` must be one image of {layer.in_channels} channels, [channels, height, width]; "
            f"got {x.shape}. For a batch, use `jax.vmap`."
        )
    pads = layer.padding
    if isinstance(pads, str):
        pads = jax.lax.padtype_to_pads(x.shape[1:], layer.weight.shape[2:], layer.stride, pads)
    return convolve(layer.weight, x, pads, row)
