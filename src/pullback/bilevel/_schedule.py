"""Hyperparameters over a training: kept as numbers, read at a step, saved and replayed."""

import os
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Num, PyTree

from pullback.bilevel._hyperparameters import is_record
from pullback.bilevel._schedule_files import Column, read_columns, write_columns


class Recorded(eqx.Module):
    """A hyperparameter as a schedule keeps it: what a loss reads, `value`, and nothing to tune.

    Attributes:
        value: of any shape, with a leading axis for the recorded steps in `Schedule.hyper`.
    """

    value: Num[Array | np.ndarray, "*shape"]


class Schedule(eqx.Module):
    r"""What the hyperparameters of a training were, from step to step.

    $$ h(s) = h_i \quad\text{for } s_i \le s < s_{i+1} $$

    Before the first recorded step it is what it was there, and after the last one what it came to.
    A schedule is replayed by a loss that is told the step:

        def loss(model, batch, *, key, step):
            return inner(model, schedule.at(step), batch, key=key)

    `pullback.train.fit` tells it. `inner` is the loss that was tuned with, unchanged: where it
    reads `hyper["dropout"].value`, that is what `at` gives.

    Args:
        steps: whole numbers from 0 on, rising; how many steps were taken before.
        hyper: as the losses read it, each array with a leading axis for `steps`; of
            hyperparameters such as `Bounded` the values are kept.

    Raises:
        ValueError: `steps` do not rise or are below 0, an axis does not fit them, or a value is not
            finite.

    Example:
        >>> import pathlib, tempfile
        >>> schedule = Schedule([0, 100], {"dropout": Recorded(jnp.asarray([0.1, 0.4]))})
        >>> print(schedule.at(99)["dropout"].value, schedule.at(100)["dropout"].value)
        0.1 0.4
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "schedule.csv"
        >>> schedule.save(file)
        >>> print(file.read_text())
        step,dropout.value
        0,0.1
        100,0.4
        >>> print(Schedule.load(file).at(250)["dropout"].value)
        0.4

    Source: MacKay et al., Self-Tuning Networks, arXiv 1903.03088, section 5.1, which trains an
        LSTM anew on the schedule that another run found.
    """

    steps: Int[Array, " points"]
    hyper: PyTree

    def __init__(self, steps: Any, hyper: PyTree):
        hyper = recorded(hyper)
        hyper = jax.tree.map(lambda x: jnp.asarray(x) if eqx.is_array_like(x) else x, hyper)
        self.steps, self.hyper = jnp.asarray(_checked_steps(steps)), hyper
        leaves = [leaf for leaf in jax.tree.leaves(hyper) if eqx.is_array(leaf)]
        if not leaves:
            raise ValueError("`hyper` must have an array for what was recorded; it has none.")
        for leaf in leaves:
            if jnp.shape(leaf)[:1] != self.steps.shape:
                raise ValueError(
                    f"each array of `hyper` must have a leading axis for the {len(self.steps)} "
                    f"steps; got one of shape {jnp.shape(leaf)}."
                )
            if not isinstance(leaf, jax.core.Tracer) and not np.all(np.isfinite(leaf)):
                raise ValueError("each value of `hyper` must be finite; one is not.")

    def at(self, step: Any) -> PyTree:
        """The hyperparameters at a step: the last recorded at it or before.

        Args:
            step: a whole number, traced or not.

        Returns:
            `hyper` without the leading axis.
        """
        step = jnp.asarray(step).astype(self.steps.dtype)
        place = jnp.searchsorted(self.steps, step, side="right") - 1
        pick = lambda leaf: leaf[jnp.maximum(place, 0)] if eqx.is_array(leaf) else leaf
        return jax.tree.map(pick, self.hyper)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the schedule to a file that a person can read, whole or not at all.

        Args:
            path: its name ends in ".json", or in ".csv" for a table with a line for each step and a
                column for each number.

        Raises:
            ValueError: the name has another ending, or a name in `hyper` cannot be the name of a
                column.
        """
        found, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(self.hyper, eqx.is_array))
        columns = [Column(_keys(keys), np.asarray(leaf)) for keys, leaf in found]
        write_columns(path, np.asarray(self.steps), columns)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, like: PyTree = None) -> "Schedule":
        """Read a schedule that was saved, or written by hand.

        Args:
            path: a ".json" or ".csv" file.
            like: hyperparameters of the structure that is to come back, without the axis of steps:
                for tuples and classes of one's own. None: dictionaries and lists.

        Raises:
            ValueError: the file is missing, damaged or none of a schedule, or does not fit `like`;
                the message says which.
        """
        steps, columns = read_columns(path)
        try:
            return cls(steps, _nested(columns) if like is None else _like(like, columns))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def recorded(hyper: PyTree) -> PyTree:
    """The same hyperparameters as a schedule keeps them."""
    return jax.tree.map(
        lambda h: Recorded(h.value) if is_record(h) else h, hyper, is_leaf=is_record
    )


def _checked_steps(steps: Any) -> Any:
    if isinstance(steps, jax.core.Tracer):
        return steps
    found = np.asarray(steps)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise ValueError(f"`steps` must be whole numbers along one axis, got {steps!r}.")
    if found[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"`steps` must be below 2**31, got {found[-1]}.")
    if found[0] < 0 or np.any(np.diff(found) <= 0):
        raise ValueError(f"`steps` must rise from 0 or more on, got {found.tolist()}.")
    return found.astype(np.int32)


def _keys(path: tuple) -> tuple:
    """What leads to a leaf, as plain names and numbers."""
    named = ("key", "idx", "name")
    keys = tuple(next(getattr(k, n) for n in named if hasattr(k, n)) for k in path)
    if path and path[-1] == jax.tree_util.DictKey("value"):
        raise ValueError("'value' cannot be the name of a hyperparameter in a file; rename it.")
    return keys


def _nested(columns: list[Column]) -> PyTree:
    """Dictionaries and lists of what was saved."""
    tree: dict = {}
    for column in columns:
        *above, last = ("", *column.keys)
        if last == "value":
            *above, last = above
            leaf: Any = Recorded(jnp.asarray(column.values))
        else:
            leaf = jnp.asarray(column.values)
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[last] = leaf
    return _with_lists(tree[""])


def _with_lists(node: PyTree) -> PyTree:
    if not isinstance(node, dict):
        return node
    children = {key: _with_lists(child) for key, child in node.items()}
    if set(children) == set(range(len(children))):
        return [children[place] for place in range(len(children))]
    return children


def _like(like: PyTree, columns: list[Column]) -> PyTree:
    """What was saved, in the structure of these hyperparameters."""
    arrays, rest = eqx.partition(recorded(like), eqx.is_array)
    leaves, structure = jax.tree_util.tree_flatten_with_path(arrays)
    saved = {column.keys: column.values for column in columns}
    wanted = {_keys(keys): leaf for keys, leaf in leaves}
    kinds = lambda found, cut: {keys: jnp.shape(leaf)[cut:] for keys, leaf in found.items()}
    if kinds(saved, 1) != kinds(wanted, 0):
        raise ValueError(f"it holds {kinds(saved, 1)}, and `like` has {kinds(wanted, 0)}.")
    found = [jnp.asarray(saved[keys]).astype(leaf.dtype) for keys, leaf in wanted.items()]
    return eqx.combine(jax.tree.unflatten(structure, found), rest)
