"""A path in pieces, and the layers of what it runs through."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from pullback._floating import at_least_float32
from pullback._inputs import positive
from pullback.nn import hidden_states

Layers = tuple[Array, ...]
Pieces = tuple[Array, Array]


def layer_function(layers: Any, kind: str) -> Callable[[Any], Layers]:
    """From one input to the floating arrays of its layers.

    Args:
        layers: a model, of which the last layer is left out, or such a function.
        kind: of a model, "pre" or "post".
    """
    if not callable(layers):
        raise TypeError(
            "`layers` must be a model, or a function from one input to the tuple of its layers; "
            f"got {layers!r}."
        )
    if isinstance(layers, eqx.nn.MLP | eqx.nn.Sequential):
        call = lambda x: getattr(hidden_states(layers, x), kind)[:-1]
    else:
        call = layers

    def checked(x: Array) -> Layers:
        found = call(x)
        if not isinstance(found, tuple | list) or not all(map(eqx.is_inexact_array, found)):
            raise TypeError(
                "`layers` must give the tuple of the layers of one input, floating arrays, got "
                f"{jax.tree.map(lambda leaf: getattr(leaf, 'dtype', type(leaf)), found)}. Of an "
                "`eqx.nn.MLP` or an `eqx.nn.Sequential` give the model itself."
            )
        if not found:
            raise ValueError("`layers` gives no layer: a model needs a hidden one.")
        return tuple(found)

    return checked


def wide(x: Array) -> Array:
    """In a dtype to add up in."""
    return x.astype(at_least_float32(x.dtype))


def segments(num: Any, path: Any) -> Pieces:
    """Where the pieces between `num` points of a path start and end."""
    if not callable(path):
        raise TypeError(
            f"`path` must be a function of t in [0, 1], such as `line(x0, x1)`; got {path!r}."
        )
    positive(num=num)
    if num < 2:
        raise ValueError(f"`num` must be 2 points or more, got {num}.")
    # Divided in NumPy, so that the points are the same bits however they are batched.
    times = jnp.asarray(np.linspace(0, 1, num), float)
    return times[:-1], times[1:]


def points_of(pieces: Pieces) -> Array:
    """Both ends of pieces that follow on one another, each once."""
    return jnp.concatenate([pieces[0], pieces[1][-1:]])


def refuse_traced(name: str, *trees: Any) -> None:
    """Raise where a call is being compiled or differentiated, and the answer is no array."""
    # Within `jit` every new array is traced, also where nothing that is handed over is.
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((trees, jnp.zeros(())))):
        raise TypeError(
            f"`{name}` answers with numbers on the host, and was called within `jax.jit`, `vmap` "
            "or a gradient: call it by itself."
        )


def refuse_what_is_not_finite(good: Array) -> None:
    """Where that can be said already: not while a call is being compiled."""
    if not isinstance(good, Tracer) and not bool(jnp.all(good)):
        raise ValueError(
            f"layer {int(jnp.argmin(good))} of `layers` (from 0) has numbers that are not finite. "
            "They overflow where weights are too large for the depth; or an input has them."
        )
