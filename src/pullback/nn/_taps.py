"""Layers whose inputs and signals come out of a backward pass, with no side effect."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._patches import patches_of

Layer = eqx.nn.Linear | eqx.nn.Conv2d


class AbstractWeightNoise(eqx.Module):
    r"""Noise E in the weights of a dense layer, another for each example, known by what it does.

    A layer with weights W + E and, where it has a bias, b + e is applied to one example a and gives
    $Wa + b + (Ea + e)$; backwards it takes a signal s to $W^\top s + E^\top s$. Where an example
    passes through the layer once, neither needs E itself: `forward` draws Ea + e from its
    distribution, and `backward` draws $E^\top s$ from its own, given what `forward` gave. So a
    batch whose examples have a weight matrix each costs what one with a common matrix costs.

    To write one: keep the random key and what the distribution needs as arrays. Given to
    `layer_factors`, every array has a leading axis, the examples.

    Source: Kingma et al., Variational Dropout and the Local Reparameterization Trick, arXiv
        1506.02557, for the step forwards.
    """

    @abc.abstractmethod
    def forward(self, x: Float[Array, " i"]) -> tuple[Float[Array, " o"], PyTree[Array]]:
        """What the noise adds to what the layer gives of an input, and what `backward` needs.

        Args:
            x: the layer's input, without the 1 that a bias multiplies.

        Returns:
            Ea + e, and a PyTree of arrays.
        """

    @abc.abstractmethod
    def backward(self, kept: PyTree[Array], signal: Float[Array, " o"]) -> Float[Array, " i"]:
        r"""What the noise adds to the cotangent of the layer's input, $E^\top s$.

        Args:
            kept: the second of what `forward` gave.
            signal: s, the cotangent of what the layer gave.
        """


class Slots(NamedTuple):
    """Zeros that take no part; their cotangents are a layer's inputs and signals."""

    input: Float[Array, "*positions i"]
    signal: Float[Array, "*positions o"]


class AbstractStandIn(eqx.Module):
    """What stands in a layer's place, and tells of it whatever it is asked."""

    layer: eqx.AbstractVar[Layer]
    name: eqx.AbstractVar[str]

    def __getattr__(self, name: str) -> Any:
        # Asked for what is no field of this class: for what a user's code reads of the layer.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.layer, name)


class Tap(AbstractStandIn):
    """A layer that computes what it did, and whose slots receive what passes through it."""

    layer: Layer
    slots: Slots
    noise: AbstractWeightNoise | None
    name: str = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        del key  # Equinox's layers ignore it too
        weight, bias = self.layer.weight, self.layer.bias
        weight = weight.reshape(weight.shape[0], -1)
        bias = None if bias is None else bias.reshape(-1)
        rows, shape = rows_of(self.layer, x)
        y = _affine((weight, bias, self.noise), self.slots, rows)
        return (y.T if y.ndim == 2 else y).reshape(shape)


def rows_of(layer: Layer, x: Array) -> tuple[Float[Array, "*positions i"], tuple[int, ...]]:
    """The rows that a layer's weights are multiplied with, and the shape of what it gives."""
    # Whole numbers have no cotangents to be handed out.
    x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(layer.weight.dtype)
    if isinstance(layer, eqx.nn.Linear):
        out, width = layer.weight.shape
        return jnp.reshape(x, (width,)), () if layer.out_features == "scalar" else (out,)
    found = patches_of(layer, x)
    shape = (layer.weight.shape[0], *found.shape[2:])
    return found.reshape(-1, shape[1] * shape[2]).T, shape


@jax.custom_vjp
def _affine(
    learned: tuple[Array, Array | None, AbstractWeightNoise | None],
    slots: Slots,
    x: Float[Array, "*positions i"],
) -> Float[Array, "*positions o"]:
    return _forward(learned, slots, x)[0]


def _forward(learned: Any, slots: Slots, x: Array) -> tuple[Array, Any]:
    del slots
    weight, bias, noise = learned
    y = x @ weight.T
    y = y if bias is None else y + jnp.broadcast_to(bias, y.shape)
    kept = None
    if noise is not None:
        added, kept = noise.forward(x)
        y = y + added
    return y, (weight, noise, x, kept)


def _backward(residuals: Any, signal: Array) -> Any:
    weight, noise, x, kept = residuals
    back = signal @ weight
    if noise is not None:
        back = back + noise.backward(kept, signal)
    return None, Slots(x, signal), back.astype(x.dtype)


_affine.defvjp(_forward, _backward)
