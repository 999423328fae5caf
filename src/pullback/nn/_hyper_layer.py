"""What layers that respond to hyperparameters have in common."""

import abc
import math
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

L = TypeVar("L", eqx.nn.Linear, eqx.nn.Conv2d)


class AbstractHyperLayer(eqx.Module):
    r"""A layer whose weights are a function of hyperparameters, with a plain layer for each value.

    The input of that function, the gate $\lambda$, is kept in the layer, so that a network goes on
    calling `layer(x)`; `respond` puts it there.

    To write one of your own, give it the fields and the three methods. `respond`,
    `freeze_response`, `linearised`, `response_parameters` and `pullback.bilevel.fit_self_tuning`
    then take it.

    Attributes:
        general: the plain layer that this one is where the gate is 0.
        gate: $\lambda$, or where `centred` how far hyperparameters are from where they stand;
            zeros at first. The leading axes, if any, are those that all of its arrays have.
        centred: which of the two the gate is; static.
        at_zero: a leaf, False at first; `linearised` makes it True. The gate is then 0, whatever
            stands there, and only differentiated: what it would multiply may be left out.
    """

    general: eqx.AbstractVar[Any]
    gate: eqx.AbstractVar[Float[Array, "*stack count"]]
    centred: eqx.AbstractVar[bool]
    at_zero: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "*inputs"], *, key: Any = None) -> Float[Array, "*outputs"]:
        """Apply the layer, as its gate has it, to one example."""

    @abc.abstractmethod
    def frozen(self) -> Any:
        """The plain layer that this one is at its gate."""

    @abc.abstractmethod
    def responds(self) -> PyTree:
        """The same layer with a bool for each leaf: whether it is a parameter of the response."""


def opened(gates: Array, rows: Array, *, at_zero: bool) -> Array:
    """`gates * rows`; with `at_zero` for gates of 0, of which the derivative alone is wanted.

    Nothing then follows the slope of `rows`, which 0 would multiply: a third of a network's
    products, and half of those of a gradient through its derivative.
    """
    return _opened_at_zero(gates, rows) if at_zero else gates * rows


@jax.custom_jvp
def _opened_at_zero(gates: Array, rows: Array) -> Array:
    return jnp.zeros_like(rows)


@_opened_at_zero.defjvp
def _opened_at_zero_slope(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return jnp.zeros_like(primals[1]), tangents[0] * primals[1]


def check_plain(layer: Any, kind: type) -> None:
    """Raise for what is no layer of this kind with weights of its own."""
    if not isinstance(layer, kind) or not eqx.is_inexact_array(layer.weight):
        raise TypeError(
            f"`layer` must be an `eqx.nn.{kind.__name__}` with a floating weight of its own, got "
            f"{layer!r}."
        )


def stacked(layer: Any) -> int:
    """How many leading axes the weights have in front of those of one layer."""
    return layer.weight.ndim - (2 if isinstance(layer, eqx.nn.Linear) else 4)


def fresh_response(layer: L, *, key: PRNGKeyArray) -> L:
    """A layer of the same shapes with new weights, as Equinox draws them."""
    fan_in = math.prod(layer.weight.shape[stacked(layer) + 1 :])
    keys, limit = jr.split(key), max(fan_in, 1) ** -0.5
    draw = lambda key, old: jr.uniform(key, old.shape, old.dtype, -limit, limit)
    layer = eqx.tree_at(lambda at: at.weight, layer, draw(keys[0], layer.weight))
    if layer.bias is None:
        return layer
    return eqx.tree_at(lambda at: at.bias, layer, draw(keys[1], layer.bias))


def fresh_gate(
    layer: Any, count: int, *, centred: bool, key: PRNGKeyArray
) -> tuple[Array, Array | None, Array]:
    """How each output's weights and its bias follow the gate, and the gate itself."""
    *stack, out = layer.weight.shape[: stacked(layer) + 1]
    keys, dtype = jr.split(key), layer.weight.dtype
    # A centred gate has a signal from the first step on; another one needs a start.
    size = 0.0 if centred else 0.01
    start = lambda key: size * jr.normal(key, (*stack, out, count), dtype)
    bias_gate = None if layer.bias is None else start(keys[1])
    return start(keys[0]), bias_gate, jnp.zeros((*stack, count), dtype)


def frozen_layer(layer: Any) -> Any:
    """The plain layer of a general and of a response part, at the gate."""
    general, response = layer.general, layer.response

    def moved(old: Array, direction: Array, gates: Array) -> Array:
        opened = jnp.einsum("...oh,...h->...o", gates, layer.gate)
        axes = old.ndim - opened.ndim
        return old + opened.reshape(opened.shape + (1,) * axes) * direction

    weight = moved(general.weight, response.weight, layer.weight_gate)
    plain = eqx.tree_at(lambda at: at.weight, general, weight)
    if layer.bias_gate is None:
        return plain
    bias = moved(general.bias, response.bias, layer.bias_gate)
    return eqx.tree_at(lambda at: at.bias, plain, bias)


def response_of(layer: Any) -> Any:
    """True at the response and at its gates, and False elsewhere."""
    marked = jax.tree.map(lambda _: False, layer)
    for part in ("response", "weight_gate", "bias_gate"):
        if getattr(layer, part) is not None:
            yes = jax.tree.map(lambda _: True, getattr(layer, part))
            marked = eqx.tree_at(lambda at, part=part: getattr(at, part), marked, yes)
    return marked
