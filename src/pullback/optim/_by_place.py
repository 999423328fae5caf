"""A model as layers and others by their places, and a layer's arrays as one matrix."""

import itertools
from collections.abc import Collection
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

Layer = Any  # an `eqx.nn.Linear` or an `eqx.nn.Conv2d`


class Parts(eqx.Module):
    """Something of each known layer, and something of each other parameter.

    Attributes:
        layers: by place.
        others: by place.
    """

    layers: dict[str, Any]
    others: dict[str, Any]


def parts_of(tree: PyTree, layers: Collection[str]) -> Parts:
    """The layers at these places, and all other arrays."""
    found, _ = _flat(tree, layers)
    named = [(jtu.keystr(path), node) for path, node in found]
    return Parts(
        {name: node for name, node in named if name in layers},
        {name: node for name, node in named if name not in layers and eqx.is_inexact_array(node)},
    )


def put(tree: PyTree, parts: Parts) -> PyTree:
    """The tree with these layers and these others in their places."""
    found, structure = _flat(tree, parts.layers)
    all_of = {**parts.layers, **parts.others}
    return jax.tree.unflatten(
        structure, [all_of.get(jtu.keystr(path), node) for path, node in found]
    )


def _flat(tree: PyTree, layers: Collection[str]) -> Any:
    stops = lambda path, _: jtu.keystr(path) in layers
    return jtu.tree_flatten_with_path(tree, is_leaf=stops, is_leaf_takes_path=True)


def as_matrix(layer: Layer) -> Float[Array, "o j"]:
    """The weights of a layer, [out, in], with the bias as the last column."""
    weight = layer.weight.reshape(layer.weight.shape[0], -1)
    if layer.bias is None:
        return weight
    return jnp.concatenate([weight, layer.bias.reshape(-1, 1)], axis=1)


def as_layer(matrix: Float[Array, "o j"], like: Layer) -> Layer:
    """The layer of such a matrix."""
    width = like.weight.size // like.weight.shape[0]
    weight = matrix[:, :width].reshape(like.weight.shape)
    layer = eqx.tree_at(lambda layer: layer.weight, like, weight)
    if like.bias is None:
        return layer
    return eqx.tree_at(lambda layer: layer.bias, layer, matrix[:, width:].reshape(like.bias.shape))


def with_one(x: Float[Array, " i"], width: int) -> Float[Array, " j"]:
    """An input, with the 1 that a bias multiplies where the matrix has a column for it."""
    return x if x.shape[0] == width else jnp.concatenate([x, jnp.ones_like(x[:1])])


def keys_of(names: Collection[str], key: PRNGKeyArray) -> dict[str, PRNGKeyArray]:
    """A key for each name."""
    return dict(zip(names, jr.split(key, max(1, len(names))), strict=False))


def normals_of(sizes: dict[str, int], dtype: Any, key: PRNGKeyArray) -> dict[str, Array]:
    """So many normal numbers for each name, by one draw."""
    ends = list(itertools.accumulate(sizes.values()))
    parts = jnp.split(jr.normal(key, (ends[-1],), dtype), ends[:-1]) if ends else []
    return dict(zip(sizes, parts, strict=True))
