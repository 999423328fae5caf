"""Masked networks: a row for each dimension that depends on those before it, or after it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from pullback._inputs import positive, time_like
from pullback._key import checked_key

from ._concat import ConcatLinear
from ._conditioner import AbstractConditioner


class StrictMADE(eqx.Module):
    """A masked fully connected net: row `i` depends on the time and on `y_1, ..., y_{i-1}` alone.

    Each unit has a degree. Entry `i` of `y` has degree `i`, the units of a hidden layer are spread
    evenly over `1, ..., dim - 1`, and a weight is kept where the degree does not fall, in the last
    layer where it grows. So `y_dim` is seen by no row, and row 1 sees the time alone. A hidden
    layer narrower than `dim - 1` lets a row see fewer of the entries just before its own.

    Args:
        dim: Size of the state.
        features: Size of a row.
        width: Size of each hidden layer.
        depth: Number of hidden layers, 1 or more.
        reverse: Count from the end: row `i` then depends on `y_{i+1}, ..., y_dim`.
        activation: Function of an array, between the layers.
        dtype: Of the weights; JAX's default float if None.
        key: Random key for the weights.

    Raises:
        ValueError: If a size is below 1, or `y` is not one example of shape `[dim]`.

    Example:
        >>> import jax, jax.numpy as jnp, jax.random as jr
        >>> net = StrictMADE(3, features=1, width=8, key=jr.key(0))
        >>> slopes = jax.jacfwd(lambda y: net(0.5, y)[:, 0])(jnp.ones(3))
        >>> (slopes != 0).astype(int).tolist()
        [[0, 0, 0], [1, 0, 0], [1, 1, 0]]

    Source:
        Germain et al., "MADE", arXiv 1502.03509, section 4, with a strict last mask.
    """

    layers: tuple[ConcatLinear, ...]
    dim: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    reverse: bool = eqx.field(static=True)
    activation: Callable[[Any], Any] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        features: int,
        width: int,
        depth: int = 1,
        *,
        reverse: bool = False,
        activation: Callable[[Any], Any] = jnp.tanh,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        positive(dim=dim, features=features, width=width, depth=depth)
        sizes = [dim, *[width] * depth, dim * features]
        self.layers = tuple(
            ConcatLinear(sizes[i], sizes[i + 1], zero=False, dtype=dtype, key=layer_key)
            for i, layer_key in enumerate(jr.split(key, depth + 1))
        )
        self.dim = dim
        self.features = features
        self.reverse = reverse
        self.activation = activation

    def __call__(self, t: ScalarLike, y: Float[Array, " dim"]) -> Float[Array, "dim features"]:
        """The rows at the state `y` and time `t`."""
        t = time_like(t, y, (self.dim,))
        # Masks are made anew from the degrees, so that they are no parameters.
        inputs = np.arange(1.0, self.dim + 1)
        # For dim = 1 no degree is allowed, and the last mask is zero.
        hidden = np.rint(np.linspace(1, max(self.dim - 1, 1), self.layers[0].bias.size))
        degrees, h = inputs, y[::-1] if self.reverse else y
        for layer in self.layers[:-1]:
            h = self.activation(layer.masked(_compare(jnp.greater_equal, hidden, degrees), t, h))
            degrees = hidden
        outputs = np.repeat(inputs, self.features)
        h = self.layers[-1].masked(_compare(jnp.greater, outputs, degrees), t, h)
        rows = h.reshape(self.dim, self.features)
        return rows[::-1] if self.reverse else rows


def _compare(compare: Callable, outputs: np.ndarray, inputs: np.ndarray) -> Array:
    return compare(jnp.asarray(outputs)[:, None], jnp.asarray(inputs)[None, :])


class TwoSidedConditioner(AbstractConditioner):
    """Two masked nets: what lies before a dimension, and what lies after it.

        h_i = [left(t, y_1, ..., y_{i-1}), right(t, y_{i+1}, ..., y_dim)]

    The cost is that of two fully connected nets, whatever `dim` is. The two sides meet in what
    reads `h_i` only, so give that some width. The order of the dimensions matters: neighbours that
    belong together are seen best.

    Args:
        dim: Size of the state.
        features: Size of the part of a row that comes from one side; a row has twice as many.
        width: Size of each hidden layer of a side.
        depth: Number of hidden layers of a side, 1 or more.
        activation: Function of an array, between the layers.
        dtype: Of the weights; JAX's default float if None.
        key: Random key for the weights.

    Raises:
        ValueError: If a size is below 1, or `y` is not one example of shape `[dim]`.

    Example:
        >>> import jax.numpy as jnp, jax.random as jr
        >>> conditioner = TwoSidedConditioner(3, features=4, width=8, key=jr.key(0))
        >>> conditioner(0.5, jnp.ones(3)).shape
        (3, 8)

    Source:
        Chen and Duvenaud, "Neural Networks with Cheap Differential Operators", arXiv 1912.03579,
        section 2.1.
    """

    left: StrictMADE
    right: StrictMADE
    dim: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        features: int,
        width: int,
        depth: int = 1,
        *,
        activation: Callable[[Any], Any] = jnp.tanh,
        dtype: Any = None,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        self.left, self.right = (
            StrictMADE(
                dim,
                features,
                width,
                depth,
                reverse=reverse,
                activation=activation,
                dtype=dtype,
                key=side_key,
            )
            for reverse, side_key in zip((False, True), jr.split(key), strict=True)
        )
        self.dim = dim
        self.size = 2 * features

    def __call__(self, t: ScalarLike, y: Float[Array, " dim"]) -> Float[Array, "dim size"]:
        """The rows at the state `y` and time `t`."""
        return jnp.concatenate([self.left(t, y), self.right(t, y)], axis=1)
