"""Of a part of the entries, those that were observed."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._interface import AbstractLikelihood
from ._normal import Normal


def masked_log_prob(
    likelihood: AbstractLikelihood,
    params: Float[Array, "..."],
    x: Float[Array, "*shape"],
    mask: Bool[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """The log-probability of each observed entry in nats, and 0 where nothing was observed.

    What lies under the mask, NaN too, reaches neither the value nor a gradient.

    Args:
        likelihood: of x.
        params: of the shape `likelihood.params_shape(x.shape)`.
        x: data.
        mask: True where an entry was observed.

    Example:
        >>> import jax.numpy as jnp
        >>> from pullback.models.likelihoods import Normal
        >>> x, mask = jnp.array([1.0, jnp.nan]), jnp.array([True, False])
        >>> print(masked_log_prob(Normal(0.5), jnp.zeros(2), x, mask).round(3))
        [-2.226  0.   ]
    """
    if isinstance(likelihood, Normal) and likelihood.fixed is not None:
        # The error itself is masked, which takes a select less; and to the bit, models of series
        # go on as they were trained.
        error = jnp.where(mask, jnp.where(mask, x, 0.0) - params, 0.0)
        return jnp.where(mask, likelihood.of_error(error), 0.0)
    behind = mask.reshape(mask.shape + (1,) * (params.ndim - mask.ndim))
    inside = jnp.asarray(likelihood.support.feasible_like(x)).astype(x.dtype)
    # Both ways round, so that what lies under the mask reaches no gradient.
    log_prob = likelihood.log_prob(
        jnp.where(behind, params, jnp.zeros((), params.dtype)), jnp.where(mask, x, inside)
    )
    return jnp.where(mask, log_prob, 0.0)
