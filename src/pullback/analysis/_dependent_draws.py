"""Means and signs of draws that depend on the ones before them, such as those of a Markov chain."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jax.scipy.special import betainc
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

_FEWEST = 5  # lengths that the rows must be, for their mean to be judged


def check_correlation_length(length: Any, rows: int) -> None:
    """Refuse one that is none, or beside which there are too few rows."""
    if isinstance(length, Tracer | None):
        return
    if not 0 < np.asarray(length) < np.inf:
        raise ValueError(f"`correlation_length` must be above 0, and finite; got {length}.")
    if np.asarray(length) * _FEWEST > rows:
        raise ValueError(
            f"`correlation_length` must be at most a fifth of the {rows} rows that are tested; got "
            f"{length}. Take more draws, or thin them and leave it out."
        )


def wild_signs(
    shape: tuple[int, int], length: Float[Array, ""] | None, dtype: Any, key: PRNGKeyArray
) -> Float[Array, "n draws"]:
    r"""Signs that agree between rows k apart with the correlation $e^{-k / \ell}$; None: with 0."""
    if length is None:
        return jr.rademacher(key, shape, dtype)
    first, turns = jr.split(key)
    turn = jr.bernoulli(turns, -jnp.expm1(-1 / length) / 2, shape)
    signs = jnp.where(turn, -1, 1).astype(dtype)
    return jr.rademacher(first, shape[1:], dtype)[None] * jnp.cumprod(signs, axis=0)


def variance_of_mean(
    values: Float[Array, " n"], length: Float[Array, ""] | None
) -> Float[Array, ""]:
    r"""Of the mean of values in their order, $\frac1{n^2} \sum_{ij} e^{-|i-j| / \ell} c_i c_j$.

    c is centred, for which is made up so that of independent values the answer is unbiased.
    """
    n = jnp.asarray(len(values), values.dtype)
    if length is None:
        return jnp.var(values, ddof=1) / n
    keep = jnp.exp(-1 / length)

    def step(sums: Array, pair: Array) -> tuple[Array, Array]:
        # Of what came before, and twice over, for the sum is of both orders.
        return keep * (sums + pair), pair * (pair + 2 * sums)

    centred = values - jnp.mean(values)
    pairs = jnp.stack([centred, jnp.ones_like(centred)], axis=1)
    _, terms = jax.lax.scan(step, jnp.zeros_like(pairs[0]), pairs)
    products, ones = jnp.sum(terms, axis=0) / n**2
    return products / (1 - ones)


def survival(
    statistic: Float[Array, ""], rows: int, length: Float[Array, ""] | None
) -> Float[Array, ""]:
    r"""How often a mean over its error is as large, of rows that have mean 0.

    Weights $e^{-k / \ell}$ tell the error with $n / \ell$ degrees of freedom: that is n over the
    integral of their squares, of both signs of k.
    """
    if length is None:
        return norm.sf(statistic)
    freedom = rows / length
    square = jnp.square(statistic)
    half = betainc(freedom / 2, jnp.full_like(freedom, 0.5), freedom / (freedom + square)) / 2
    return jnp.where(statistic > 0, half, 1 - half)
