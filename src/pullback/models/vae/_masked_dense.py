"""An autoregressive decoder in which each entry sees all before it."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback.models.likelihoods import AbstractLikelihood

from ._autoregressive import AbstractAutoregressiveDecoder, draw_in_order
from ._networks import DenseNet


class MaskedDense(AbstractAutoregressiveDecoder):
    r"""A masked dense network: the parameters of an entry see z and all entries before it.

    $$ p(x | z) = \prod_i p(x_i \mid x_{<i}, z), \qquad \text{i by rows, from the first} $$

    On images of a few hundred pixels it costs a fraction of a `PixelCNN`, and sees further; it has
    a weight for each pair of a pixel and a hidden unit, so it needs more examples.

    Args:
        shape: of x.
        latent: length of z.
        likelihood: of x.
        width: of each hidden layer. The first unit sees z alone, the last all entries but one.
        depth: hidden layers, 1 or more.
        activation: between the layers.
        key: for the weights.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.models.vae import Bernoulli
        >>> decoder = MaskedDense((1, 2, 2), 3, Bernoulli(), width=8, key=jax.random.key(0))
        >>> decoder(jnp.zeros(3), jnp.ones((1, 2, 2))).shape
        (1, 2, 2)

    Source: Germain et al., MADE, arXiv 1502.03509, section 3.
    """

    from_z: DenseNet
    weights: tuple[Float[Array, "out inputs"], ...]
    biases: tuple[Float[Array, " out"], ...]
    shape: tuple[int, ...] = eqx.field(static=True)
    outputs: tuple[int, ...] = eqx.field(static=True)
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        likelihood: AbstractLikelihood,
        width: int = 200,
        depth: int = 1,
        activation: Callable = jax.nn.elu,
        *,
        key: PRNGKeyArray,
    ):
        key = checked_key(key)
        if depth < 1 or width < 1 or math.prod(shape) < 1:
            raise ValueError(
                f"`shape`, `width` and `depth` must be 1 or more, got {shape}, {width} and {depth}."
            )
        z_key, *keys = jr.split(key, depth + 2)
        self.shape, self.outputs = tuple(shape), likelihood.params_shape(tuple(shape))
        self.activation = activation
        self.from_z = DenseNet((latent,), (width,), width, 1, activation, key=z_key)
        masks = _masks(math.prod(shape), width, depth, math.prod(self.outputs))
        self.weights = tuple(
            _times(jr.normal(key, mask.shape), mask / np.sqrt(np.maximum(mask.sum(1), 1))[:, None])
            for key, mask in zip(keys, masks, strict=True)
        )
        self.biases = tuple(jnp.zeros(len(mask)) for mask in masks)

    def __call__(self, z: Float[Array, " latent"], x: Array) -> Float[Array, "..."]:
        first, *rest = zip(self._masked(), self.biases, strict=True)
        h = first[0] @ x.ravel().astype(first[0].dtype) + first[1] + self.from_z(z)
        for weight, bias in rest:
            h = weight @ self.activation(h) + bias
        return h.reshape(self.outputs)

    def _masked(self) -> list[Array]:
        width, inputs = self.weights[0].shape
        masks = _masks(inputs, width, len(self.weights) - 1, len(self.biases[-1]))
        return [_times(weight, mask) for weight, mask in zip(self.weights, masks, strict=True)]

    def sample(self, z: Float[Array, " latent"], likelihood: Any, *, key: PRNGKeyArray) -> Array:
        """One x, entry by entry: as many evaluations of the network as there are entries."""
        key = checked_key(key)
        count = math.prod(self.shape)
        order = jnp.arange(count).reshape(self.shape)
        return draw_in_order(self, z, likelihood, order, count, self.weights[0].dtype, key=key)


def _times(weight: Array, mask: np.ndarray) -> Array:
    return weight * jnp.asarray(mask, weight.dtype)


def _masks(inputs: int, width: int, depth: int, outputs: int) -> list[np.ndarray]:
    """What each layer may see, `[out, in]`: a unit of degree d sees the first d entries."""
    degrees = np.linspace(0, inputs - 1, width).astype(int)
    ends = [degrees] * depth + [np.repeat(np.arange(inputs), outputs // inputs)]
    first = degrees[:, None] > np.arange(inputs)
    return [first, *(after[:, None] >= before for before, after in pairwise(ends))]
