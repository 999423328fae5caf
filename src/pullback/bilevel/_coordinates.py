"""Hyperparameters as one vector: what is perturbed, and what a network responds to."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from pullback.bilevel._hyperparameters import is_record, values
from pullback.bilevel._schedule import recorded


def coordinates(hyper: PyTree) -> Float[Array, " count"]:
    """All coordinates, one after another."""
    leaves = jax.tree.leaves(eqx.filter(hyper, eqx.is_inexact_array))
    dtype = jnp.result_type(*leaves)
    return jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in leaves])


def moved(hyper: PyTree, by: Float[Array, " count"]) -> PyTree:
    """The same hyperparameters with a vector added to their coordinates."""
    arrays, rest = eqx.partition(hyper, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = jnp.split(by, ends[:-1].tolist())
    added = [
        leaf + part.reshape(leaf.shape).astype(leaf.dtype)
        for leaf, part in zip(leaves, parts, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(structure, added), rest)


def shared_by_batch(hyper: PyTree) -> Bool[np.ndarray, " count"]:
    """Whether each coordinate has one perturbation for a whole batch."""
    flags = []
    for node in jax.tree.leaves(hyper, is_leaf=is_record):
        for leaf in jax.tree.leaves(eqx.filter(node, eqx.is_inexact_array)):
            flags += [is_record(node) and node.per_batch] * leaf.size
    return np.asarray(flags, bool)


def numbers_by_name(hyper: PyTree) -> dict[str, Array]:
    """Each value by its name, as in `dropout[0]`: what a history keeps."""
    found, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(values(hyper), eqx.is_array))
    named = {}
    for path, leaf in found:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        for place in np.ndindex(leaf.shape):
            index = "".join(f"[{at}]" for at in place)
            named[f"{name}{index}"] = leaf[place]
    return named


def from_history(hyper: PyTree, history: dict[str, np.ndarray], prefix: str) -> PyTree:
    """What `numbers_by_name` gave, gathered again, with a leading axis of points.

    Several runs are the axis after that.
    """
    arrays, rest = eqx.partition(recorded(hyper), eqx.is_array)
    names = iter(numbers_by_name(hyper))

    def gathered(leaf: Array) -> np.ndarray:
        rows = [history[prefix + next(names)] for _ in range(leaf.size)]
        rows = np.stack(rows, axis=-1)
        return rows.reshape(*rows.shape[:-1], *leaf.shape).astype(leaf.dtype)

    return eqx.combine(jax.tree.map(gathered, arrays), rest)
