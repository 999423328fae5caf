"""What multiplies the Brownian increments, and where these come from."""

from collections.abc import Sequence
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from pullback._clock import Clock, Times
from pullback._lanes import spread

Noise = Literal["diagonal", "additive", "general"]


def leaves_of(y: PyTree, tree: PyTree) -> list[Any]:
    """What `tree` has in the place of each leaf of `y`: an array, or None for no noise."""
    return jax.tree.structure(y).flatten_up_to(tree)


def times_increment(y: PyTree, sigma: PyTree, increments: Sequence[Array | None]) -> list[Any]:
    """Each leaf of the diffusion times its increment; None where there is no noise."""
    products: list[Any] = []
    for leaf, s, w in zip(jax.tree.leaves(y), leaves_of(y, sigma), increments, strict=True):
        if s is None or w is None:
            products.append(None)
        elif s.ndim == leaf.ndim:
            products.append(s * w)
        else:
            products.append(jnp.einsum("...dm,...m->...d", s, w))
    return products


def increment_shapes(y: PyTree, sigma: PyTree) -> tuple[jax.ShapeDtypeStruct | None, ...]:
    """The shape of the Brownian motion that drives each leaf."""
    shapes = []
    for leaf, s in zip(jax.tree.leaves(y), leaves_of(y, sigma), strict=True):
        if s is None:
            shapes.append(None)
        elif s.ndim == leaf.ndim:
            shapes.append(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
        else:
            shapes.append(jax.ShapeDtypeStruct((*leaf.shape[:-1], s.shape[-1]), leaf.dtype))
    return tuple(shapes)


class Counter(eqx.Module):
    """Increments drawn from the number of the step: nothing is stored, and they come again.

    Where time runs backward the steps are numbered from the other end, so that the path is that of
    the same times in increasing order.
    """

    key: PRNGKeyArray
    steps: int = eqx.field(static=True)
    backward: bool | Bool[Array, ""]
    shapes: tuple[jax.ShapeDtypeStruct | None, ...] = eqx.field(static=True)

    def __call__(self, step: Array, t: Array, dt: Array) -> list[Array | None]:
        """The increments of all leaves over step number `step`."""
        del t
        if self.backward is False:
            root = jnp.sqrt(dt)
        else:
            step = jnp.where(self.backward, self.steps - 1 - step, step)
            root = jnp.sign(dt) * jnp.sqrt(jnp.abs(dt))
        key = jr.fold_in(self.key, step)
        drawn = [
            None if s is None else jr.normal(jr.fold_in(key, i), s.shape, s.dtype)
            for i, s in enumerate(self.shapes)
        ]
        return [None if x is None else spread(root, x) * x for x in drawn]


class OnPath(eqx.Module):
    """Increments of a Brownian path that the caller gave."""

    path: diffrax.AbstractBrownianPath
    clock: Clock
    backward: bool | Bool[Array, ""]
    shapes: tuple[jax.ShapeDtypeStruct | None, ...] = eqx.field(static=True)

    def __call__(self, step: Array, t: Array, dt: Array) -> list[Array | None]:
        """The increments of all leaves from `t` to `t + dt`."""
        del step
        ends = self.clock.reached(t), self.clock.reached(t + dt)
        if self.backward is False:
            drawn = iter(jax.tree.leaves(self.path.evaluate(*ends)))
            return [None if s is None else next(drawn) for s in self.shapes]
        # A path may know its increments from an earlier to a later time alone.
        drawn = iter(jax.tree.leaves(self.path.evaluate(jnp.minimum(*ends), jnp.maximum(*ends))))
        sign = jnp.sign(dt)
        return [None if s is None else spread(sign, x := next(drawn)) * x for s in self.shapes]


def check_path(path: Any, shapes: Sequence[jax.ShapeDtypeStruct | None], times: Times) -> None:
    """Raise unless `path` has the shape of the noise and the length of `times`."""
    if not isinstance(path, diffrax.AbstractBrownianPath):
        raise TypeError(f"path must be a Diffrax Brownian path, got {type(path).__name__}")
    zero = jnp.zeros(())
    got = jax.tree.leaves(eqx.filter_eval_shape(path.evaluate, zero, zero + 1))
    want = [s for s in shapes if s is not None]
    if [g.shape for g in got] != [s.shape for s in want]:
        raise ValueError(
            f"path must have the shape of the noise, {[list(s.shape) for s in want]}, "
            f"got {[list(g.shape) for g in got]}"
        )
    clock = times.clock
    ends = [path.t0, path.t1, jnp.minimum(clock.first, clock.last), clock.first, clock.last]
    if any(isinstance(end, Tracer) for end in ends):
        return
    start, stop, *asked = (np.asarray(end) for end in ends)
    if np.min(asked) < start or np.max(asked) > stop:
        raise ValueError(
            f"path is known from t = {start} to {stop}, and ts goes from {np.min(asked)} to "
            f"{np.max(asked)}: make the path as long as the solve"
        )


def to_one_array(y: PyTree, got: PyTree) -> str:
    """The remedy where a list came back for a state that is one array."""
    if isinstance(got, list | tuple) and jax.tree.structure(y) == jax.tree.structure(0):
        return ": make one array of it, with jnp.stack([...])"
    return ""


def check_diffusion(y: PyTree, sigma: PyTree, noise: Noise) -> None:
    """Raise unless the diffusion's value has the shape that `noise` says."""
    try:
        leaves = leaves_of(y, sigma)
    except ValueError as error:
        raise ValueError(
            f"diffusion must return the structure of y, {jax.tree.structure(y)}, with an array or "
            f"None (no noise) for each of its arrays, got {jax.tree.structure(sigma)}"
        ) from error
    for leaf, s in zip(jax.tree.leaves(y), leaves, strict=True):
        if s is None:
            continue
        diagonal = hasattr(s, "shape") and s.shape == leaf.shape
        matrix = hasattr(s, "shape") and leaf.ndim > 0 and s.shape[:-1] == leaf.shape
        wanted = {
            "diagonal": (diagonal, f"the shape of y, {list(leaf.shape)}"),
            "general": (matrix, f"the shape of y and one axis more, {[*leaf.shape, 'm']}"),
            "additive": (
                diagonal or matrix,
                f"the shape of y, {list(leaf.shape)}, or with one axis more",
            ),
        }
        fits, sentence = wanted[noise]
        if not fits:
            got = list(s.shape) if hasattr(s, "shape") else type(s).__name__
            raise ValueError(
                f"with noise={noise!r} diffusion must return {sentence}, got {got}"
                f"{to_one_array(y, sigma)}"
            )
        if s.dtype != leaf.dtype:
            raise ValueError(f"diffusion must have the dtype of y, {leaf.dtype}, got {s.dtype}")
    if all(s is None for s in leaves):
        raise ValueError("diffusion returned None for every array of y: use pullback.ode.solve")
