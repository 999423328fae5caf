"""Tolerances as a solve is given them: one number, or some for each leaf of the state."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, DTypeLike, PyTree


def positive_number(name: str, value: Any, dtype: DTypeLike) -> Array:
    """One positive number, as an array that is not differentiated."""
    if not eqx.is_array_like(value):
        raise TypeError(f"{name} must be one number, got {value!r}")
    array = _positive(name, value)
    if array.ndim != 0:
        raise ValueError(f"{name} must be one number, got shape {list(array.shape)}")
    return lax.stop_gradient(array.astype(dtype))


def tolerance_of(
    name: str, value: Any, y0: PyTree, dtype: DTypeLike, per_sample: bool
) -> PyTree[Array]:
    """A tolerance: a number, or a tree like `y0` whose leaves go with the leaves of the state."""
    if eqx.is_array_like(value) and jnp.ndim(value) == 0:
        return positive_number(name, value, dtype)
    try:
        # A leaf of it may stand for a branch of the state.
        whole = jax.tree.map(lambda x, branch: jax.tree.map(lambda _: x, branch), value, y0)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} must be one number, or a tree of numbers like y0 or the top of it, got "
            f"{jax.tree.structure(value)} for {jax.tree.structure(y0)}"
        ) from error

    def one(x: Any, y: Array) -> Array:
        if not eqx.is_array_like(x):
            raise TypeError(f"{name} must be made of numbers, got {x!r}")
        array = _positive(name, x)
        shape = y.shape[1:] if per_sample else y.shape
        try:
            array = jnp.broadcast_to(array, shape)
        except ValueError as error:
            raise ValueError(
                f"{name} of a leaf must be one number, or as many as the leaf has, {list(shape)}; "
                f"got {list(array.shape)}"
            ) from error
        return lax.stop_gradient(array.astype(dtype))[None if per_sample else ...]

    return jax.tree.map(one, whole, y0)


def _positive(name: str, value: Any) -> Array:
    array = jnp.asarray(value)
    if not isinstance(array, Tracer) and not bool(np.all(np.asarray(array) > 0)):
        got = float(array) if array.ndim == 0 else np.asarray(array)
        raise ValueError(f"{name} must be positive, got {got}")
    return array
