"""A record of hyperparameters over a training, in a fixed room."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from pullback.bilevel._schedule import Schedule

# Points of a record, and the most numbers that all of them may have.
_POINTS, _NUMBERS = 512, 2**22


class Recorder(eqx.Module):
    """What the hyperparameters were at every so many steps.

    Where its room is full every second point goes, and from there on half as many are kept: so it
    need not know how long the training will be.
    """

    rows: PyTree
    every: Int[Array, ""]

    @staticmethod
    def start(hyper: PyTree) -> "Recorder":
        """A record whose first point is `hyper`."""
        arrays = eqx.filter(hyper, eqx.is_inexact_array)
        numbers = max(1, sum(leaf.size for leaf in jax.tree.leaves(arrays)))
        points = max(2, min(_POINTS, _NUMBERS // numbers // 2 * 2))
        empty = lambda leaf: jnp.zeros((points, *leaf.shape), leaf.dtype).at[0].set(leaf)
        return Recorder(jax.tree.map(empty, arrays), jnp.asarray(1, jnp.int32))

    def add(self, hyper: PyTree, count: Int[Array, ""]) -> "Recorder":
        """The record after `count` steps, which is 1 at the first call and one more at each."""
        arrays = eqx.filter(hyper, eqx.is_inexact_array)
        points = len(jax.tree.leaves(self.rows)[0])
        full = count // self.every == points
        half = lambda rows: jnp.concatenate([rows[::2], jnp.zeros_like(rows[::2])])
        thinned = lambda rows: jax.tree.map(half, rows)
        rows = jax.lax.cond(full, thinned, lambda rows: rows, self.rows)
        every = jnp.where(full, 2 * self.every, self.every)
        place = jnp.where(count % every == 0, count // every, points)
        put = lambda rows, leaf: rows.at[place].set(leaf, mode="drop")
        return Recorder(jax.tree.map(put, rows, arrays), every)

    def schedule(self, hyper: PyTree, count: int, *, steps: int) -> Schedule:
        """The schedule of a training that came to `hyper` after `count` times `steps` steps."""
        every = int(self.every)
        at = np.arange(0, count + 1, every)
        arrays, rest = eqx.partition(hyper, eqx.is_inexact_array)
        kept = jax.tree.map(lambda rows: np.asarray(rows[: len(at)]), self.rows)
        if at[-1] != count:
            at = np.append(at, count)
            last = lambda rows, leaf: np.concatenate([rows, np.asarray(leaf)[None]])
            kept = jax.tree.map(last, kept, arrays)
        return Schedule(at * steps, eqx.combine(jax.tree.map(jnp.asarray, kept), rest))
