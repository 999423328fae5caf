"""A Brownian path of the caller's, in the time and the structure of a solve that Diffrax runs."""

import dataclasses
from typing import Any, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from pullback._clock import Clock


class GivenPath(diffrax.AbstractBrownianPath):
    """`path` as one of the time since the first, in which Diffrax solves."""

    path: diffrax.AbstractBrownianPath
    clock: Clock
    shape: PyTree[jax.ShapeDtypeStruct] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    levy_area: Any = eqx.field(static=True)

    @property
    def t0(self) -> Array:
        return jnp.minimum(0.0, self.clock.last - self.clock.first)

    @property
    def t1(self) -> Array:
        return jnp.maximum(0.0, self.clock.last - self.clock.first)

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False) -> Any:
        """The increment from `t0` to `t1`, counted from the first time."""
        start, end = (None if t is None else self.clock.reached(t) for t in (t0, t1))
        found = self.path.evaluate(cast(Array, start), end, left=left, use_levy=use_levy)
        if not use_levy:
            return self._restored(found)
        values = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
        return type(found)(**{name: self._restored(value) for name, value in values.items()})

    def _restored(self, tree: PyTree) -> PyTree:
        leaves = [x.astype(self.dtype) for x in jax.tree.leaves(tree)]
        return jax.tree.structure(self.shape).unflatten(leaves)
