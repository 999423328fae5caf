"""Log-densities with the noise of their estimate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key

from ._interface import AbstractFlow


class LogProbEstimate(NamedTuple):
    """An average of independent estimates of log-densities.

    Attributes:
        mean: in nats.
        standard_error: of the mean; 0 where the log-determinant is exact.
    """

    mean: Float[Array, "..."]
    standard_error: Float[Array, "..."]


def log_prob_estimate(
    flow: AbstractFlow,
    x: Float[Array, "..."],
    *,
    context: Float[Array, "..."] | None = None,
    samples: int = 32,
    batch_size: int | None = None,
    key: PRNGKeyArray,
) -> LogProbEstimate:
    r"""Log-densities with the noise of their estimate.

    $$ \bar\ell = \tfrac1n \sum_i \ell_i, \qquad
       \mathrm{se} = \sqrt{\tfrac{1}{n (n - 1)} \sum_i (\ell_i - \bar\ell)^2} $$

    Args:
        flow: with an estimated log-determinant or divergence.
        x: points `[..., *shape]`.
        context: of each of them, or None.
        samples: n, 2 or more.
        batch_size: the most points at once.
        key: for the estimates.

    Raises:
        ValueError: `samples` is below 2.

    Example:
        >>> import jax, jax.numpy as jnp, pullback as pb
        >>> flow = pb.models.flows.residual_flow(2, blocks=3, width=8, key=jax.random.key(0))
        >>> log_prob_estimate(flow, jnp.zeros((4, 2)), key=jax.random.key(1)).mean.shape
        (4,)
    """
    key = checked_key(key)
    if samples < 2:
        raise ValueError(f"`samples` must be 2 or more, got {samples}.")
    draws = jax.lax.map(
        lambda k: flow.log_prob(x, context=context, batch_size=batch_size, key=k),
        jr.split(key, samples),
    )
    return LogProbEstimate(
        jnp.mean(draws, axis=0), jnp.std(draws, axis=0, ddof=1) / np.sqrt(samples).item()
    )
