"""The layers of a model by their places, and the model with something else there."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from ._taps import Layer


class Places:
    """A model, taken apart into layers whose gradients have factors and all else.

    Args:
        model: any PyTree.
        exclude: places of layers that are taken for something else.

    Attributes:
        layers: by place, such as ".layers[0]".
        stacks: places of layers whose weights have a leading axis, which are among the others.
        others: the model's other parts, in order, with None for each layer.

    Raises:
        ValueError: a part normalises over a batch.
    """

    def __init__(self, model: PyTree, exclude: Sequence[str] = ()) -> None:
        nodes, self._structure = jax.tree_util.tree_flatten_with_path(model, is_leaf=_stops)
        self._names = [jax.tree_util.keystr(path) for path, _ in nodes]
        self.layers: dict[str, Layer] = {}
        self.others: list[Any] = []
        self.stacks: list[str] = []
        for name, (_, node) in zip(self._names, nodes, strict=True):
            if isinstance(node, eqx.nn.BatchNorm):
                raise ValueError(
                    f"`model{name}` normalises over the batch, so that no example has a gradient "
                    "of its own: use `eqx.nn.GroupNorm` or `eqx.nn.LayerNorm`."
                )
            if _is_layer(node) and node.weight.ndim != _RANKS[type(node)]:
                self.stacks.append(name)
            known = _is_layer(node) and name not in (*exclude, *self.stacks)
            if known:
                self.layers[name] = node
            self.others.append(None if known else node)

    def put(self, layers: dict[str, Any], others: list[Any] | None = None) -> PyTree:
        """The model with these in the places of its layers, and with other parts."""
        others = self.others if others is None else others
        parts = [layers.get(name, other) for name, other in zip(self._names, others, strict=True)]
        return jax.tree.unflatten(self._structure, parts)


def _is_layer(node: Any) -> bool:
    if type(node) is eqx.nn.Conv2d:
        return node.groups == 1 and _is_real(node.weight)
    return type(node) is eqx.nn.Linear and _is_real(node.weight)


def _is_real(leaf: Any) -> bool:
    """Whether it is a floating array; a tie to another layer leaves none."""
    return eqx.is_inexact_array(leaf) or isinstance(leaf, np.ndarray)


_RANKS = {eqx.nn.Linear: 2, eqx.nn.Conv2d: 4}


def _stops(node: Any) -> bool:
    return type(node) in _RANKS or isinstance(node, eqx.nn.BatchNorm)
