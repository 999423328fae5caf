"""What has one derivative, and says so of a second."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def once(what: str, instead: str, *trees: PyTree) -> Float[Array, ""]:
    """One. It is an error to differentiate it by the arrays of `trees`.

    Times a derivative, it makes a second one by those arrays an error.
    """
    arrays = [leaf for leaf in jax.tree.leaves(trees) if eqx.is_inexact_array(leaf)]
    return _once(f"{what} cannot be differentiated twice: {instead}.", arrays)


@eqx.filter_custom_jvp
def _once(message: str, arrays: list[Array]) -> Array:
    return jnp.ones(())


@_once.def_jvp
def _once_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    raise ValueError(primals[0])
