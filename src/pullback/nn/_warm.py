"""A vector that is kept beside a weight, and the stamp of the weight for which it was found."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt

from pullback._power_method import settle, unit


def stamp_of(*arrays: Float[Array, "..."]) -> Float[Array, " 4"]:
    """Four bytes of a checksum of the arrays' bits, each over 256: another weight has another.

    Fractions of one byte are exact in every floating dtype, and small beside any penalty on
    parameters that meets them.
    """
    total = sum((_checksum(array) for array in arrays), jnp.zeros((), jnp.uint32))
    bytes_ = total >> jnp.array([0, 8, 16, 24], jnp.uint32) & 0xFF
    return bytes_.astype(arrays[0].dtype) / 256


def found_for(stamp: Float[Array, " 4"], *arrays: Float[Array, "..."]) -> Bool[Array, ""]:
    """Whether a stamp is that of these arrays."""
    return jnp.all(stamp == stamp_of(*arrays))


def found_anew(
    turn: Callable[[Any], Any], vector: Float[Array, "*shape"], fresh: Bool[Array, ""]
) -> Float[Array, "*shape"]:
    """`vector` if it is `fresh`, else what a closer power method makes of it and of another.

    A vector of other weights may lie across the largest singular direction and never leave; so
    half of the start is a direction that no weight knows.
    """
    warm = unit(vector, generic(vector))
    start = jnp.where(fresh, warm, warm + generic(vector))
    rtol = max(1e-4, 8 * float(jnp.finfo(vector.dtype).eps))
    return settle(turn, start, rtol=rtol, max_steps=jnp.where(fresh, 0, 5000), least=2)


def nudged(vector: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The vector with a little of every direction, out of which a larger one can grow."""
    return unit(vector, generic(vector)) + 1e-4 * generic(vector)


def generic(like: Float[Array, "*shape"], number: int = 1) -> Float[Array, "*shape"]:
    """A direction that no weight is likely to know, another for each number."""
    places = jnp.arange(1, like.size + 1, dtype=jnp.float32)
    chirp = jnp.sin(number * places * places).reshape(like.shape).astype(like.dtype)
    return unit(chirp, chirp)


def _checksum(array: Float[Array, "..."]) -> UInt[Array, ""]:
    width = min(array.dtype.itemsize, 4)
    bits = jax.lax.bitcast_convert_type(array.reshape(-1), f"uint{8 * width}").reshape(-1)
    bits = bits.astype(jnp.uint32)
    # Signs and exponents are the high bits: they are spread over all before they are added up.
    bits = (bits ^ bits >> 16) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ bits >> 13) * (2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1)
    return jnp.sum(bits ^ bits >> 16, dtype=jnp.uint32)
