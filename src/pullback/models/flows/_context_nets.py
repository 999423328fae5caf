"""Networks that depend on a context: of residual blocks, of vector fields, and of a base."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._inputs import positive
from pullback._key import checked_key
from pullback.nn import AbstractLipschitz, LipschitzMLP, lipschitz_upper_bound


class ContextMLP(AbstractLipschitz):
    r"""A `LipschitzMLP` of x whose layers are shifted by a network of the context.

    $$ h_l = \bar W_l\, \phi(h_{l-1}) + b_l + A_l\, k(c), \qquad h_0 = x $$

    Its Lipschitz constant in x is at most that of the network without the shifts, whatever the
    context does: k and A are free.

    Args:
        dim: entries of x and of the output.
        context: shape of c, or its size.
        width: of the hidden layers, and of k's output.
        depth: hidden layers.
        bound: on the norm of each layer in x.
        activation: of the network of x; `LipSwish` when None.
        key: for the weights.

    Raises:
        ValueError: a size is below 1, or `bound` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = ContextMLP(2, 3, 8, 1, bound=0.9, key=jax.random.key(0))
        >>> net(jnp.ones(2), jnp.ones(3)).shape, round(net.lipschitz(), 2)
        ((2,), 0.81)
    """

    net: LipschitzMLP
    features: eqx.nn.MLP
    shifts: tuple[eqx.nn.Linear, ...]

    def __init__(
        self,
        dim: int,
        context: int | tuple[int, ...],
        width: int,
        depth: int,
        *,
        bound: float = 0.97,
        activation: Callable[..., Any] | None = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        size = _size(context)
        net_key, features_key, *keys = jr.split(key, depth + 3)
        self.net = LipschitzMLP(dim, width, depth, bound=bound, activation=activation, key=net_key)
        self.features = eqx.nn.MLP(size, width, width, 1, jnp.tanh, jnp.tanh, key=features_key)
        self.shifts = tuple(
            eqx.nn.Linear(width, layer.bias.shape[-1], use_bias=False, key=k)
            for layer, k in zip(self.net.layers, keys, strict=True)
        )

    def lipschitz(self) -> float:
        """In x, by construction."""
        return self.net.lipschitz()

    def certified(self) -> Float[Array, ""]:
        """In x, of the weights as they are."""
        return lipschitz_upper_bound(self.net)

    def __call__(
        self, x: Float[Array, " dim"], context: Float[Array, "..."]
    ) -> Float[Array, " dim"]:
        """Apply the network to one vector and its context."""
        features = self.features(context.reshape(-1))
        add = lambda layer, shift: layer.bias + shift(features)
        biases = [
            add(layer, shift) for layer, shift in zip(self.net.layers, self.shifts, strict=True)
        ]
        return eqx.tree_at(lambda net: [layer.bias for layer in net.layers], self.net, biases)(x)


class ContextField(eqx.Module):
    r"""A vector field of a state and its context: the first entries of a field of both together.

    $$ \frac{dz}{dt} = g\big(t, [z, c]\big)_{1 \dots \mathrm{dim}} $$

    Args:
        net: g, a field of `dim` entries and those of a context, such as `pullback.nn.ConcatMLP`.
        dim: entries of z.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> net = pb.nn.ConcatMLP(2 + 3, width=8, depth=1, key=jax.random.key(0))
        >>> ContextField(net, 2)(0.0, jnp.ones(2), jnp.ones(3)).shape
        (2,)
    """

    net: Callable[..., Any]
    dim: int = eqx.field(static=True)

    def __call__(
        self, t: Any, y: Float[Array, " dim"], args: Float[Array, "..."] | None
    ) -> Float[Array, " dim"]:
        """The velocity; `args` is the context."""
        context = y[:0] if args is None else args.reshape(-1)
        return self.net(t, jnp.concatenate([y, context]), None)[: self.dim]


class ConditionalNormal(eqx.Module):
    r"""A base that depends on the context: independent normals whose moments are networks of it.

    $$ z \sim N\big(\mu(c), \mathrm{diag}\, \sigma^2(c)\big) $$

    It starts as the standard normal. With `depth=0` and contexts that are one-hot vectors it is a
    normal of each class.

    Args:
        dim: entries of z.
        context: shape of c, or its size.
        width: of the hidden layers.
        depth: hidden layers; 0 is a linear map.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> base = ConditionalNormal(2, 3, depth=0, key=jax.random.key(0))
        >>> print(f"{base(jnp.ones(3)).log_prob(jnp.zeros(2)):.4f}")
        -1.8379
    """

    moments: eqx.nn.MLP

    def __init__(
        self,
        dim: int,
        context: int | tuple[int, ...],
        width: int = 32,
        depth: int = 1,
        *,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(dim=dim, width=width)
        moments = eqx.nn.MLP(_size(context), 2 * dim, width, depth, jnp.tanh, key=key)
        last = lambda mlp: (mlp.layers[-1].weight, mlp.layers[-1].bias)
        self.moments = eqx.tree_at(last, moments, jax.tree.map(jnp.zeros_like, last(moments)))

    def __call__(self, context: Float[Array, "..."]) -> Any:
        """The distribution at one context."""
        mean, log_std = jnp.split(self.moments(context.reshape(-1)), 2)
        return dist.Normal(mean, jnp.exp(log_std)).to_event(1)


def _size(context: int | tuple[int, ...]) -> int:
    size = context if isinstance(context, int) else math.prod(context)
    positive(context=size)
    return size
