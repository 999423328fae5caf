"""Layers whose inputs and signals come out of a backward pass, with no side effect."""

import abc
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Jaxpr, jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, Float, PyTree

from ._patches import patches_of

Layer = eqx.nn.Linear | eqx.nn.Conv2d
Seen = Callable[[str, jax.ShapeDtypeStruct, jax.ShapeDtypeStruct], None]


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


class _AbstractStandIn(eqx.Module):
    """What stands in a layer's place, and tells of it what is no array."""

    layer: eqx.AbstractVar[Layer]
    name: eqx.AbstractVar[str]

    def __getattr__(self, name: str) -> Any:
        # Asked for what is no field of this class: for what a user's code reads of the layer.
        if name.startswith("__") or name not in type(self.layer).__dataclass_fields__:
            raise AttributeError(name)
        value = getattr(self.layer, name)
        if eqx.is_array(value):
            raise ValueError(f"`{self.name}.{name}` is read {_REMEDY}")
        return value


class Tap(_AbstractStandIn):
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
        rows, shape = _rows_of(self.layer, x)
        y = _affine((weight, bias, self.noise), self.slots, rows)
        return (y.T if y.ndim == 2 else y).reshape(shape)


class _Marked(_AbstractStandIn):
    """What passes a number on that depends on no array of the layer, and is marked by its name."""

    layer: Layer
    name: str = eqx.field(static=True)
    seen: Seen = eqx.field(static=True)

    def __call__(self, x: Array, *, key: Any = None) -> Array:
        del key
        rows, shape = _rows_of(self.layer, x)
        dtype = jnp.result_type(rows, self.layer.weight)
        out = (*rows.shape[:-1], self.layer.weight.shape[0])
        self.seen(
            self.name,
            jax.ShapeDtypeStruct(rows.shape, rows.dtype),
            jax.ShapeDtypeStruct(out, dtype),
        )
        return checkpoint_name(jnp.full(shape, rows.sum(), dtype), self.name)


def _rows_of(layer: Layer, x: Array) -> tuple[Float[Array, "*positions i"], tuple[int, ...]]:
    """The rows that a layer's weights are multiplied with, and the shape of what it gives."""
    # Whole numbers have no cotangents to be handed out.
    x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(layer.weight.dtype)
    if isinstance(layer, eqx.nn.Linear):
        out, width = layer.weight.shape
        return jnp.reshape(x, (width,)), () if layer.out_features == "scalar" else (out,)
    found = patches_of(layer, x)
    shape = (layer.weight.shape[0], *found.shape[2:])
    return found.reshape(-1, shape[1] * shape[2]).T, shape


EXCLUDED = "the gradient of each example by its weights is then formed"
_REMEDY = (
    "beside the call of its layer, so that an input and a signal do not account for its gradient: "
    f"keep penalties of the weights out of the loss, or name the layer in `exclude`; {EXCLUDED}."
)


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


class Usage(NamedTuple):
    """How a layer is used for one example."""

    times: int | None  # None: it depends on the data
    is_read: bool  # whether its arrays are read beside its calls too
    input: jax.ShapeDtypeStruct | None
    signal: jax.ShapeDtypeStruct | None

    def fault(self, name: str) -> str | None:
        """Why an input and a signal do not account for the layer's gradient, if that is so."""
        if self.is_read:
            return f"an array of `model{name}` is read {_REMEDY}"
        if self.times is not None and self.times < 2:
            return None
        often = "as often as the data say"
        if self.times is not None:
            often = f"{self.times} times for one example (shared, scanned or mapped over positions)"
        return f"`model{name}` is called {often}: name it in `exclude`; {EXCLUDED}."

    def slots(self, layer: Layer) -> Slots:
        """Zeros of the shapes of its inputs and signals."""
        if self.input is None or self.signal is None:  # it is never called
            out, *into = layer.weight.shape
            sizes = ((math.prod(into),), (out,))
            return Slots(*(jnp.zeros(size, layer.weight.dtype) for size in sizes))
        return Slots(*(jnp.zeros(each.shape, each.dtype) for each in (self.input, self.signal)))


def usage(value: Callable[[dict[str, Any]], Array], layers: dict[str, Layer]) -> dict[str, Usage]:
    """How `value` uses each layer, by its program alone: nothing is computed.

    The program is that of a value whose layers pass on a marked number in the place of what they
    compute. So whatever depends on a layer's arrays reads them beside its calls. The marks, with
    the lengths of the loops that they stand in and of the axes that they are mapped over, tell how
    often it is called.

    Args:
        value: of something callable in the places of the layers.
        layers: by name.
    """
    shapes: dict[str, tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]] = {}

    def seen(name: str, rows: jax.ShapeDtypeStruct, signal: jax.ShapeDtypeStruct) -> None:
        shapes[name] = (rows, signal)

    def bare(arrays: dict[str, Layer]) -> Array:
        marked = lambda name: _Marked(
            layer=eqx.combine(arrays[name], layers[name]), name=f"model{name}", seen=seen
        )
        return value({name: marked(name) for name in layers})

    arrays = {name: eqx.filter(layer, eqx.is_inexact_array) for name, layer in layers.items()}
    jaxpr = jax.make_jaxpr(bare)(arrays).jaxpr
    used = iter(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1])
    is_read = {name: any([next(used) for _ in jax.tree.leaves(arrays[name])]) for name in layers}
    times = _marks(jaxpr, {name: math.prod(found[1].shape) for name, found in shapes.items()})
    of_one = lambda name, full: Usage(
        times.get(full, 0), is_read[name], *shapes.get(full, (None, None))
    )
    return {name: of_one(name, f"model{name}") for name in layers}


def _marks(jaxpr: Jaxpr, sizes: dict[str, int]) -> dict[str, int | None]:
    """How often each mark is passed for one example; None where the data say."""
    found: dict[str, int | None] = {}

    def add(name: str, times: int | None) -> None:
        before = found.get(name, 0)
        found[name] = None if times is None or before is None else before + times

    for eqn in jaxpr.eqns:
        kind = eqn.primitive.name
        if kind == "name" and eqn.params["name"] in sizes:
            name = eqn.params["name"]
            shape = eqn.outvars[0].aval.shape  # pyrefly: ignore
            add(name, math.prod(shape) // sizes[name])
        for inner in jaxprs_in_params(eqn.params):
            for name, times in _marks(inner, sizes).items():
                if kind in ("while", "cond") or times is None:
                    add(name, None)
                else:
                    add(name, times * eqn.params.get("length", 1) if kind == "scan" else times)
    return found
