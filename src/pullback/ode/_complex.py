"""Complex arrays as pairs of real ones, in which a solve is done; others are left as they are."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import PyTree


class Pair(eqx.Module):
    """The two parts of a complex array."""

    real: Any
    imag: Any


def is_pair(x: Any) -> bool:
    """Whether `x` is a complex array in two parts."""
    return isinstance(x, Pair)


def is_complex(x: Any) -> bool:
    """Whether `x` is a complex array."""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.complexfloating)


def as_pairs(tree: PyTree) -> PyTree:
    """`tree` with a pair for each complex array."""
    return jax.tree.map(lambda x: Pair(jnp.real(x), jnp.imag(x)) if is_complex(x) else x, tree)


def joined(tree: PyTree) -> PyTree:
    """`tree` with a complex array for each pair."""
    one = lambda x: lax.complex(x.real, x.imag) if is_pair(x) else x
    return jax.tree.map(one, tree, is_leaf=is_pair)


def joined_shapes(tree: PyTree) -> PyTree:
    """`joined` of shapes and dtypes."""

    def one(x: Any) -> Any:
        if not is_pair(x):
            return x
        dtype = np.result_type(x.real.dtype, np.complex64)
        return jax.ShapeDtypeStruct(x.real.shape, dtype)

    return jax.tree.map(one, tree, is_leaf=is_pair)


def cotangent_as_pairs(tree: PyTree) -> PyTree:
    """The cotangent of pairs from that of what is `joined` of them."""
    return as_pairs(jax.tree.map(lambda x: jnp.conj(x) if is_complex(x) else x, tree))


def cotangent_joined(tree: PyTree) -> PyTree:
    """The cotangent of complex arrays from that of their pairs."""
    return jax.tree.map(lambda x: jnp.conj(x) if is_complex(x) else x, joined(tree))


def sizes(tree: PyTree) -> PyTree:
    """`tree` with the modulus in the place of each pair."""
    one = lambda x: jnp.hypot(x.real, x.imag) if is_pair(x) else x
    return jax.tree.map(one, tree, is_leaf=is_pair)
