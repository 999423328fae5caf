"""What one layer's weights get of every example: the factors of its gradients."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pullback._floating import at_least_float32

from ._taps import Layer


class LayerFactors(eqx.Module):
    r"""The gradients of one layer's weights, an example each, as sums of outer products.

    $$ \nabla_W \ell_n = \sum_t s_{nt} a_{nt}^\top, \qquad \nabla_b \ell_n = \sum_t s_{nt} $$

    A dense layer has one a and one s an example; a convolution has one for each place t of its
    kernel, its a being what the kernel sees there, by channels and then by rows.

    Attributes:
        input: a, [n, i] or [n, t, i], without the 1 that a bias multiplies.
        signal: s, the gradients of each example's own loss by what the layer gives, [n, o] or
            [n, t, o].
        layer: the layer without its arrays.
    """

    input: Float[Array, "n *positions i"]
    signal: Float[Array, "n *positions o"]
    layer: Layer

    @property
    def has_bias(self) -> bool:
        """Whether the layer adds a bias."""
        return self.layer.use_bias

    def whole_input(self) -> Float[Array, "n *positions j"]:
        """The input, with a last entry of 1 where the layer has a bias."""
        if not self.has_bias:
            return self.input
        return jnp.concatenate([self.input, jnp.ones_like(self.input[..., :1])], axis=-1)

    def gradient(self) -> Layer:
        """The mean gradient over the examples, in the places of the layer's arrays."""
        n, signal = self.input.shape[0], self.signal
        summed = jnp.einsum("ni,no->oi", *(_rows(part) for part in (self.input, signal)))
        return self._placed(summed / n, _rows(signal).sum(axis=0) / n)

    def gradients(self) -> Layer:
        """The gradient of each example, with a leading axis n."""
        a, s = _by_position(self.input), _by_position(self.signal)
        return self._placed(jnp.einsum("nti,nto->noi", a, s), s.sum(axis=1))

    def squares(self) -> Layer:
        """The mean over the examples of the square of each entry of their gradients."""
        if self.input.ndim == 2:
            a, s = (jnp.square(wide(part)) for part in (self.input, self.signal))
            return self._placed(s.T @ a / len(a), s.mean(axis=0))
        return jax.tree.map(lambda leaf: jnp.square(wide(leaf)).mean(axis=0), self.gradients())

    def squared_norms(self) -> Float[Array, " n"]:
        r"""Of each example, $\sum_{tu} (a_t \cdot a_u + 1)(s_t \cdot s_u)$, without its gradient.

        By the gradient where a convolution has so many places that this is cheaper.
        """
        a, s = wide(self.whole_input()), wide(self.signal)
        if a.ndim == 2:
            return jnp.square(a).sum(axis=1) * jnp.square(s).sum(axis=1)
        places, width, out = a.shape[1], a.shape[2], s.shape[2]
        if places * (width + out) > width * out:
            return jnp.square(jnp.einsum("nti,nto->noi", a, s)).sum(axis=(1, 2))
        inputs, signals = (jnp.einsum("nti,nui->ntu", part, part) for part in (a, s))
        return (inputs * signals).sum(axis=(1, 2))

    def gram(self) -> Float[Array, "n n"]:
        """The scalar product of every two examples' gradients."""
        a, s = wide(self.whole_input()), wide(self.signal)
        if a.ndim == 2:
            return (a @ a.T) * (s @ s.T)
        rows = jnp.einsum("nti,nto->nio", a, s).reshape(a.shape[0], -1)
        return rows @ rows.T

    def _placed(self, weight: Array, bias: Array) -> Any:
        """As arrays of the layer: `weight` [..., o, i], `bias` [..., o]."""
        layer, before = self.layer, weight.shape[:-2]
        if isinstance(layer, eqx.nn.Conv2d):
            weight = weight.reshape(*before, layer.out_channels, -1, *layer.kernel_size)
            bias = bias.reshape(*before, layer.out_channels, 1, 1)
        if not self.has_bias:
            return eqx.tree_at(lambda at: at.weight, layer, weight, is_leaf=_is_none)
        arrays = lambda at: (at.weight, at.bias)
        return eqx.tree_at(arrays, layer, (weight, bias), is_leaf=_is_none)


def wide(part: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """In float32 at least: squares of half precision run under."""
    return part.astype(at_least_float32(part.dtype))


def _rows(part: Float[Array, "n *positions i"]) -> Float[Array, "rows i"]:
    return part.reshape(math.prod(part.shape[:-1]), part.shape[-1])


def _by_position(part: Float[Array, "n *positions i"]) -> Float[Array, "n t i"]:
    return part[:, None] if part.ndim == 2 else part


def _is_none(node: Any) -> bool:
    return node is None
