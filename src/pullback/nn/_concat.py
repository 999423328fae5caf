"""Fully connected networks that see the time in every layer."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive, time_like
from pullback._key import checked_key


class ConcatLinear(eqx.Module):
    """An affine layer of the state and the time."""

    # The column of the weight that meets t is kept apart, `W [y, t] = W_y y + w_t t`: nothing is
    # concatenated, and under a vmap over y the time's part is computed once.
    weight: Float[Array, "out in"]
    time_weight: Float[Array, " out"]
    bias: Float[Array, " out"]

    def __init__(self, n_in: int, n_out: int, *, zero: bool, dtype: Any, key: PRNGKeyArray):
        key = checked_key(key)
        weight_key, time_key, bias_key = jr.split(key, 3)
        bound = 0.0 if zero else 1 / math.sqrt(n_in + 1)
        self.weight = _uniform(weight_key, (n_out, n_in), bound, dtype)
        self.time_weight = _uniform(time_key, (n_out,), bound, dtype)
        self.bias = _uniform(bias_key, (n_out,), bound, dtype)

    def __call__(self, t: Float[Array, ""], y: Float[Array, " in"]) -> Float[Array, " out"]:
        return self.weight @ y + (self.time_weight * t + self.bias)

    def masked(
        self, mask: Bool[Array, "out in"], t: Float[Array, ""], y: Float[Array, " in"]
    ) -> Float[Array, " out"]:
        """The layer with the weights outside of the mask at zero."""
        return jnp.where(mask, self.weight, 0) @ y + (self.time_weight * t + self.bias)


class ConcatSquashLinear(eqx.Module):
    """An affine layer that is gated and shifted by the time.

        layer(t, y) = (W y + b) * sigmoid(a t + c) + d t

    Args:
        n_in: size of its input.
        n_out: size of its output.
        zero: start `W`, `b` and `d` at zero.
        dtype: of the weights; JAX's default float if None.
        key: for the weights.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> layer = ConcatSquashLinear(3, 2, zero=True, dtype=None, key=jr.key(0))
        >>> layer(jnp.array(0.5), jnp.ones(3)).tolist()
        [0.0, 0.0]

    Source: Grathwohl et al., FFJORD, arXiv 1810.01367, and its code's `concatsquash` layer.
    """

    weight: Float[Array, "out in"]
    bias: Float[Array, " out"]
    gate_weight: Float[Array, " out"]
    gate_bias: Float[Array, " out"]
    time_weight: Float[Array, " out"]

    def __init__(self, n_in: int, n_out: int, *, zero: bool, dtype: Any, key: PRNGKeyArray):
        weight_key, bias_key, gate_key, gate_bias_key, time_key = jr.split(checked_key(key), 5)
        bound = 0.0 if zero else 1 / math.sqrt(n_in)
        self.weight = _uniform(weight_key, (n_out, n_in), bound, dtype)
        self.bias = _uniform(bias_key, (n_out,), bound, dtype)
        self.gate_weight = _uniform(gate_key, (n_out,), 1.0, dtype)
        self.gate_bias = _uniform(gate_bias_key, (n_out,), 1.0, dtype)
        self.time_weight = _uniform(time_key, (n_out,), 0.0 if zero else 1.0, dtype)

    def __call__(self, t: Float[Array, ""], y: Float[Array, " in"]) -> Float[Array, " out"]:
        gate = jax.nn.sigmoid(self.gate_weight * t + self.gate_bias)
        return (self.weight @ y + self.bias) * gate + self.time_weight * t


class ConcatMLP(eqx.Module):
    """A fully connected vector field with the time appended to the input of every layer.

        h_0 = y,   h_l = act(W_l [h_{l-1}, t] + b_l),   f = W [h_depth, t] + b

    Args:
        dim: Size of the state.
        width: Size of each hidden layer.
        depth: Number of hidden layers; 0 is a linear field.
        activation: Function of an array, between the layers. Smooth ones keep the solver's steps
            long.
        zero_last: Start the last layer at zero, so that the flow starts as the identity.
        dtype: Of the weights; JAX's default float if None.
        key: Random key for the weights.

    Raises:
        ValueError: If a size is too small, or `y` is not one example of shape `[dim]`.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> field = ConcatMLP(2, width=8, depth=2, key=jr.key(0))
        >>> field(0.5, jnp.ones(2)).tolist()
        [0.0, 0.0]

    Source:
        Chen et al., "Neural Ordinary Differential Equations", arXiv 1806.07366, and the classifier
        of Kelly et al., arXiv 2007.04504.
    """

    layers: tuple[ConcatLinear, ...]
    activation: Callable[[Any], Any] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        width: int,
        depth: int,
        *,
        activation: Callable[[Any], Any] = jnp.tanh,
        zero_last: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        self.layers = _stack(ConcatLinear, dim, width, depth, zero_last, dtype, key)
        self.activation = activation

    def __call__(
        self, t: ScalarLike, y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The velocity of the state `y` at time `t`; `args` is ignored."""
        return _forward(self.layers, self.activation, t, y)


class ConcatSquashMLP(eqx.Module):
    """A fully connected vector field whose layers are gated and shifted by the time, as in FFJORD.

        layer(h, t) = (W h + b) * sigmoid(a t + c) + d t

    with the activation between layers.

    Args:
        dim: Size of the state.
        width: Size of each hidden layer.
        depth: Number of hidden layers; 0 is a field that is affine in the state.
        activation: Function of an array, between the layers.
        zero_last: Start `W`, `b` and `d` of the last layer at zero, so that the flow starts as the
            identity.
        dtype: Of the weights; JAX's default float if None.
        key: Random key for the weights.

    Raises:
        ValueError: If a size is too small, or `y` is not one example of shape `[dim]`.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> field = ConcatSquashMLP(2, width=8, depth=2, key=jr.key(0))
        >>> field(0.5, jnp.ones(2)).tolist()
        [0.0, 0.0]

    Source:
        Grathwohl et al., "FFJORD", arXiv 1810.01367, and its code's `concatsquash` layer.
    """

    layers: tuple[ConcatSquashLinear, ...]
    activation: Callable[[Any], Any] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        width: int,
        depth: int,
        *,
        activation: Callable[[Any], Any] = jnp.tanh,
        zero_last: bool = True,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        self.layers = _stack(ConcatSquashLinear, dim, width, depth, zero_last, dtype, key)
        self.activation = activation

    def __call__(
        self, t: ScalarLike, y: Float[Array, " dim"], args: Any = None
    ) -> Float[Array, " dim"]:
        """The velocity of the state `y` at time `t`; `args` is ignored."""
        return _forward(self.layers, self.activation, t, y)


def _uniform(key: PRNGKeyArray, shape: tuple[int, ...], bound: float, dtype: Any) -> Array:
    return jr.uniform(key, shape, dtype, -bound, bound)


def _stack(
    layer: Callable,
    dim: int,
    width: int,
    depth: int,
    zero_last: bool,
    dtype: Any,
    key: PRNGKeyArray,
) -> tuple:
    positive(dim=dim, width=width)
    if depth < 0:
        raise ValueError(f"`depth` must be 0 or more, the number of hidden layers; got {depth}.")
    sizes = [dim, *[width] * depth, dim]
    return tuple(
        layer(sizes[i], sizes[i + 1], zero=zero_last and i == depth, dtype=dtype, key=layer_key)
        for i, layer_key in enumerate(jr.split(key, depth + 1))
    )


def _forward(layers: tuple, activation: Callable, t: Any, y: Array) -> Array:
    t = time_like(t, y, (layers[0].weight.shape[1],))
    for layer in layers[:-1]:
        y = activation(layer(t, y))
    return layers[-1](t, y)
