"""A positive number that is fixed, learned for each variable, or emitted."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def learned_log(
    name: str, value: float | int | None, variables: int | None
) -> Float[Array, " variables"] | None:
    """The logarithms to learn, at their start; None if there are none."""
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be positive, or None, got {value}.")
    if variables is None:
        return None
    if variables < 1:
        raise ValueError(f"`variables` must be 1 or more, or None, got {variables}.")
    if value is None:
        raise ValueError(f"`variables` needs `{name}` too: where what is learned starts.")
    return jnp.full(variables, math.log(value))


def of_variables(
    log: Float[Array, " variables"], like: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """What is learned of each variable, for every entry of an array whose last axis is theirs."""
    if not like.ndim or log.shape[0] not in (1, like.shape[-1]):
        raise ValueError(
            f"the likelihood has {log.shape[0]} variables, but the last axis of the data has "
            f"{like.shape[-1] if like.ndim else 'no'} entries: give "
            "`variables=` their number, or 1 for one that all share."
        )
    value = jnp.exp(log).astype(like.dtype)
    return jnp.broadcast_to(value.reshape((1,) * (like.ndim - 1) + value.shape), like.shape)
