"""A network of plain layers, taken apart into the steps that it makes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array

_KNOWN = (
    "`model` must be an eqx.nn.MLP, or an eqx.nn.Sequential of eqx.nn.Linear, eqx.nn.Conv and "
    "activations (eqx.nn.Lambda)"
)


class Step(NamedTuple):
    """One step of a plain network: a layer of weights, or what is done between two of them."""

    name: str
    call: Callable[[Array], Array]
    layer: eqx.nn.Linear | eqx.nn.Conv | None
    activation: Callable[[Array], Array] | None  # of one number, where it is known to be that


def plain_steps(model: Any, remedy: str) -> list[Step]:
    """The steps of a network, in turn.

    Args:
        model: an MLP, a Linear, a Conv, or a Sequential of such and of activations.
        remedy: what to do with another network, as the end of a sentence.

    Raises:
        TypeError: it holds a part of another kind, or has no layer of weights.
        ValueError: it is several networks in one.
    """
    steps = list(_steps(model, "model", remedy))
    if all(step.layer is None for step in steps):
        raise TypeError(f"{_KNOWN}; it has no layer of weights: {remedy}.")
    return steps


def _steps(part: Any, name: str, remedy: str) -> Any:
    if isinstance(part, eqx.nn.MLP):
        yield from _steps_of_mlp(part, name)
    elif isinstance(part, eqx.nn.Sequential):
        for place, layer in enumerate(part.layers):
            yield from _steps(layer, f"{name}.layers[{place}]", remedy)
    elif isinstance(part, eqx.nn.Linear | eqx.nn.Conv):
        check_whole(name, part)
        if part.weight.ndim != _axes(part):
            raise ValueError(_several(name))
        yield Step(name, part, part, None)
    elif isinstance(part, eqx.nn.Lambda):
        yield Step(name, part, None, part.fn)
    elif isinstance(part, eqx.nn.Identity):
        return
    elif isinstance(part, eqx.nn.Dropout):
        if not part.inference:
            raise TypeError(f"`{name}` drops units: give `eqx.nn.inference_mode(model)`.")
    else:
        raise TypeError(f"{_KNOWN}; `{name}` is of type {type(part).__name__}: {remedy}.")


def _steps_of_mlp(mlp: eqx.nn.MLP, name: str) -> Any:
    for place, layer in enumerate(mlp.layers):
        check_whole(f"{name}.layers[{place}]", layer)
    # With `scan` the hidden layers are one, with an axis more in front.
    layers = [
        eqx.combine(jax.tree.map(lambda leaf, at=at: leaf[at], arrays), rest)
        for layer in mlp.layers
        for arrays, rest in [eqx.partition(layer, eqx.is_array)]
        for at in (range(layer.weight.shape[0]) if layer.weight.ndim == 3 else [...])
    ]
    if len(layers) != mlp.depth + 1 or any(layer.weight.ndim != 2 for layer in layers):
        raise ValueError(_several(name))
    for place, layer in enumerate(layers):
        yield Step(f"{name}.layers[{place}]", layer, layer, None)
        if place < len(layers) - 1:
            take = lambda leaf, place=place: leaf[place] if eqx.is_array(leaf) else leaf
            activation = jax.tree.map(take, mlp.activation)
            yield _unit_by_unit(f"{name}.activation", activation, scalar=False)
        elif len(layers) > 1:  # a network of one layer alone is called without its activation
            scalar = mlp.out_size == "scalar"
            yield _unit_by_unit(f"{name}.final_activation", mlp.final_activation, scalar=scalar)


def check_whole(name: str, layer: eqx.nn.Linear | eqx.nn.Conv) -> None:
    """Raise for a layer whose arrays are in another part of the model."""
    if layer.weight is None or (layer.use_bias and layer.bias is None):
        raise TypeError(
            f"`{name}` has no weights or no biases: of a model in parts, as `eqx.partition` gives "
            "it, give the whole, `eqx.combine(*parts)`."
        )


def _axes(layer: eqx.nn.Linear | eqx.nn.Conv) -> int:
    return 2 + (layer.num_spatial_dims if isinstance(layer, eqx.nn.Conv) else 0)


def _several(name: str) -> str:
    return (
        f"`{name}` must be one network, and its weights have an axis more, as of those that "
        "`eqx.filter_vmap` makes: take one member, `jax.tree.map(lambda leaf: leaf[0] if "
        "eqx.is_array(leaf) else leaf, model)`, or map over them with `eqx.filter_vmap`."
    )


def _unit_by_unit(name: str, activation: Any, *, scalar: bool) -> Step:
    learned = any(map(eqx.is_array, jax.tree.leaves(activation)))
    mapped = eqx.filter_vmap(lambda function, x: function(x))
    call = activation if scalar else lambda x: mapped(activation, x)
    return Step(name, call, None, None if learned else activation)
