"""Which part of a model is trained."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

M = TypeVar("M")


def split_model(model: M, trainable: PyTree, *, name: str = "model") -> tuple[M, M]:
    """The trained parameters of a model, and the rest of it.

    Raises:
        TypeError: the model has no parameters, or complex ones.
        ValueError: the filter does not fit the model, or lets nothing through.
    """
    floats, rest = eqx.partition(model, eqx.is_inexact_array)
    if not jax.tree.leaves(floats):
        raise TypeError(f"`{name}` has no parameters: no leaf of it is a floating array.")
    try:
        params, frozen = eqx.partition(floats, trainable)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`trainable` must be a filter as `equinox.partition` takes it: a function from a leaf "
            f"to a bool, or a tree of bools that fits `{name}` or a front part of it; got "
            f"{_shown(trainable)} ({error})"
        ) from error
    if not jax.tree.leaves(params):
        raise ValueError(
            f"`trainable` leaves nothing of `{name}` to train: it is true for none of the "
            f"{len(jax.tree.leaves(floats))} floating arrays."
        )
    if any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(params)):
        raise TypeError(f"`{name}` has complex parameters; store real and imaginary parts apart.")
    # NumPy's float64 is JAX's default float from here on.
    return jax.tree.map(jnp.asarray, params), eqx.combine(rest, frozen)


def _shown(trainable: Any) -> str:
    return str(jax.tree.structure(trainable)) if not callable(trainable) else repr(trainable)
