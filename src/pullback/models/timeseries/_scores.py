"""How well a model's parameters say what was observed."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pullback.models.likelihoods import AbstractLikelihood, masked_log_prob


def scores(
    likelihood: AbstractLikelihood,
    params: Float[Array, "..."],
    values: Float[Array, "*shape"],
    mask: Bool[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Log-probability and squared error of the mean, of each entry; 0 where none was observed.

    The error of a class is Brier's: that of all its probabilities, summed.
    """
    log_prob = masked_log_prob(likelihood, params, values, mask)
    mean, seen = likelihood.mean(params), jnp.where(mask, values, 0.0)
    if likelihood.kind == "classes":
        seen = jax.nn.one_hot(seen.astype(jnp.int32), mean.shape[-1], dtype=mean.dtype)
        square = jnp.sum(jnp.square(mean - seen), axis=-1)
        return log_prob, jnp.where(mask, square, 0.0)
    return log_prob, jnp.square(jnp.where(mask, mean - seen, 0.0))
