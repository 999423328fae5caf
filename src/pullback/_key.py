"""What a random key is."""

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray


def checked_key(key: Any) -> PRNGKeyArray:
    """`key`, if it is one random key: the two numbers of `PRNGKey` as what `key` would give."""
    if _is_typed(key) and key.shape == ():
        return key
    if _is_raw(key, 1):
        return jr.wrap_key_data(jnp.asarray(key))
    remedy = "jax.random.key(0)"
    if isinstance(key, numbers.Integral):
        remedy = f"jax.random.key({int(key)})"
    elif _is_typed(key) or _is_raw(key, 2):
        remedy = "one of them, or jax.vmap over them"
    raise TypeError(f"key must be one random key of JAX's, got {_described(key)}: give {remedy}")


def checked_keys(keys: Any) -> Key[Array, " n"]:
    """`keys`, if they are random keys along one axis."""
    if _is_typed(keys) and keys.ndim == 1:
        return keys
    if _is_raw(keys, 2):
        return jr.wrap_key_data(jnp.asarray(keys))
    raise TypeError(
        f"keys must be random keys of JAX's along one axis, [n], got {_described(keys)}: give "
        "jax.random.split(jax.random.key(0), n)"
    )


def checked_key_or_keys(key: Any) -> Key[Array, "..."]:
    """`key`, if it is one random key, or several along one axis."""
    return key if _is_typed(key) and key.ndim == 1 else checked_key(key)


def _is_typed(key: Any) -> bool:
    dtype = getattr(key, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _is_raw(key: Any, ndim: int) -> bool:
    shape = getattr(key, "shape", ())
    return getattr(key, "dtype", None) == np.uint32 and len(shape) == ndim and shape[-1:] == (2,)


def _described(key: Any) -> str:
    dtype = getattr(key, "dtype", None)
    if dtype is None or isinstance(key, np.generic):
        return repr(key)
    return f"{dtype}{list(getattr(key, 'shape', ()))}"
