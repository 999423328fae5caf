"""Functions of importance log-weights."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._leave_one_out import leave_one_out_log_mean_exp


def effective_sample_size(log_weights: Float[Array, " k"]) -> Float[Array, ""]:
    r"""How many equally weighted samples the weighted ones are worth, $1 / \sum_i \tilde w_i^2$.

    It is k where all weights are equal, and 1 where one has them all. Report it with every
    importance-weighted figure.

    >>> import jax.numpy as jnp
    >>> print(f"{effective_sample_size(jnp.zeros(8)):.1f}")
    8.0

    Source: Kong, A Note on Importance Sampling using Standardized Weights (1992).
    """
    return jnp.exp(2 * jax.nn.logsumexp(log_weights) - jax.nn.logsumexp(2 * log_weights))


def leave_one_out_bounds(log_weights: Float[Array, " k"]) -> Float[Array, " k"]:
    r"""The bound without each sample in turn, $\log \frac{1}{k-1} \sum_{j \ne i} w_j$.

    Their mean is an estimate of the bound of k - 1 samples from the draws of k, so that bounds of
    different k are compared on the same draws.

    Args:
        log_weights: of k samples, at least 2.

    Raises:
        ValueError: there are fewer than two.

    >>> import jax.numpy as jnp
    >>> leave_one_out_bounds(jnp.zeros(3)).tolist()
    [0.0, 0.0, 0.0]

    Source: Mnih and Rezende, Variational Inference for Monte Carlo Objectives, arXiv 1602.06725.
    """
    k = len(log_weights)
    if k < 2:
        raise ValueError(f"`log_weights` must be of 2 samples or more, got {k}.")
    return leave_one_out_log_mean_exp(log_weights[None])[0]
