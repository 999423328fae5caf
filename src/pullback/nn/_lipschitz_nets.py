"""Networks of Lipschitz layers that keep the shape of their input."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key

from ._lipschitz import AbstractLipschitz, LipschitzLinear
from ._lipschitz_bounds import lipschitz_bound, lipschitz_upper_bound
from ._lipschitz_conv import LipschitzConv2d
from ._slopes import LipSwish


class LipschitzMLP(AbstractLipschitz):
    r"""A fully connected network of bounded Lipschitz constant, from a vector to one of its size.

    $$ g = W_{n+1} \circ \phi \circ W_n \circ \dots \circ \phi \circ W_1 \; [\circ\, \phi], \qquad
       \mathrm{Lip}(g) \le c^{\,n + 1} $$

    Args:
        dim: entries of the input and the output.
        width: of the hidden layers.
        depth: n, the number of hidden layers; 0 is one linear map.
        bound: c of each layer; infinity constrains nothing.
        activation: $\phi$; each place has its own copy of a learned one. None is `LipSwish`.
        first_activation: begin with an activation, as every block of a residual network but its
            first does.
        through_norm: as for `LipschitzLinear`.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = LipschitzMLP(2, 16, 2, bound=0.9, key=jax.random.key(0))
        >>> net(jnp.ones(2)).shape
        (2,)

    Source: Behrmann et al., arXiv 1811.00995; Chen et al., arXiv 1906.02735, appendix.
    """

    layers: tuple[LipschitzLinear, ...]
    activations: tuple[Callable[..., Any], ...]

    def __init__(
        self,
        dim: int,
        width: int,
        depth: int,
        *,
        bound: float = 0.97,
        activation: Callable[..., Any] | None = None,
        first_activation: bool = True,
        through_norm: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(dim=dim, width=width)
        if depth < 0:
            raise ValueError(f"`depth` must be 0 or more, got {depth}.")
        sizes = [dim, *[width] * depth, dim]
        self.layers = tuple(
            LipschitzLinear(
                n_in, n_out, bound=bound, through_norm=through_norm, dtype=dtype, key=layer_key
            )
            for n_in, n_out, layer_key in zip(
                sizes[:-1], sizes[1:], jr.split(key, depth + 1), strict=True
            )
        )
        self.activations = copies(activation, depth + first_activation, dtype)

    def lipschitz(self) -> float:
        """The product of the layers' bounds and the activations' slopes."""
        return product(self.layers, self.activations)

    def certified(self) -> Float[Array, ""]:
        """The product of the layers' exact norms and the activations' slopes."""
        return _certificate(self.layers, self.activations)

    def __call__(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """Apply the network to one vector."""
        return alternate(self.layers, self.activations, x)


class LipschitzConvNet(AbstractLipschitz):
    r"""The residual network of a block of images: kernels of 3x3, 1x1 and 3x3.

    $$ g = W_3 * \phi(W_2 * \phi(W_1 * [\phi](x))), \qquad \mathrm{Lip}(g) \le c^3 $$

    Args:
        channels: of the input and the output.
        hidden: channels between.
        size: height and width of the image.
        bound: c of each layer; infinity constrains nothing.
        activation: $\phi$; each place has its own copy of a learned one. None is `LipSwish`.
        first_activation: begin with an activation.
        through_norm: as for `LipschitzConv2d`.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = LipschitzConvNet(1, 4, size=(4, 4), bound=0.9, key=jax.random.key(0))
        >>> net(jnp.ones((1, 4, 4))).shape
        (1, 4, 4)

    Source: Behrmann et al., arXiv 1811.00995; Chen et al., arXiv 1906.02735, appendix.
    """

    layers: tuple[LipschitzConv2d, ...]
    activations: tuple[Callable[..., Any], ...]

    def __init__(
        self,
        channels: int,
        hidden: int,
        *,
        size: tuple[int, int],
        bound: float = 0.97,
        activation: Callable[..., Any] | None = None,
        first_activation: bool = True,
        through_norm: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(channels=channels, hidden=hidden)
        shapes = ((channels, hidden, 3), (hidden, hidden, 1), (hidden, channels, 3))
        self.layers = tuple(
            LipschitzConv2d(
                n_in,
                n_out,
                kernel,
                size=size,
                bound=bound,
                through_norm=through_norm,
                dtype=dtype,
                key=layer_key,
            )
            for (n_in, n_out, kernel), layer_key in zip(shapes, jr.split(key, 3), strict=True)
        )
        self.activations = copies(activation, 2 + first_activation, dtype)

    def lipschitz(self) -> float:
        """The product of the layers' bounds and the activations' slopes."""
        return product(self.layers, self.activations)

    def certified(self) -> Float[Array, ""]:
        """The product of the layers' exact norms and the activations' slopes."""
        return _certificate(self.layers, self.activations)

    def __call__(
        self, x: Float[Array, "channels height width"]
    ) -> Float[Array, "channels height width"]:
        """Apply the network to one image."""
        return alternate(self.layers, self.activations, x)


def copies(
    activation: Callable[..., Any] | None, count: int, dtype: Any
) -> tuple[Callable[..., Any], ...]:
    if activation is None:
        return tuple(LipSwish(dtype=dtype) for _ in range(count))
    # Arrays of their own: one buffer cannot be donated twice.
    copied = lambda leaf: jnp.array(leaf) if eqx.is_array(leaf) else leaf
    return tuple(jax.tree.map(copied, activation) for _ in range(count))


def alternate(
    layers: tuple[Callable[..., Any], ...],
    activations: tuple[Callable[..., Any], ...],
    x: Array,
) -> Array:
    """The layers, with an activation before each; before the first only if there is one more."""
    before = (None,) * (len(layers) - len(activations)) + activations
    for layer, activation in zip(layers, before, strict=True):
        x = layer(x if activation is None else activation(x))
    return x


def product(layers: tuple[Any, ...], activations: tuple[Any, ...]) -> float:
    return math.prod(lipschitz_bound(part) for part in layers + activations)


def _certificate(layers: tuple[Any, ...], activations: tuple[Any, ...]) -> Array:
    norms = [lipschitz_upper_bound(layer) for layer in layers]
    slope = math.prod(lipschitz_bound(activation) for activation in activations)
    return jnp.prod(jnp.stack(norms)) * slope
