"""Bounds on mutual information where a density is known: a conditional, or a partition function.

The matrix of a known conditional is `log_conditional[i, j] = log p(y_i | x_j)`, as that of a
stochastic encoder. Lower and upper bound together enclose the mutual information. All in nats.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PyTree

from pullback.bounds._leave_one_out import checked_size, without_diagonal
from pullback.bounds._mutual_information import Number, Scores, infonce
from pullback.sampling import log_prob_of_parts


def pairwise_log_prob(
    conditional: Callable[[Any], Any],
    x: PyTree[Float[Array, "b_x ..."]],
    y: Float[Array, "b_y ..."],
) -> Float[Array, "b_y b_x ..."]:
    r"""Every y under the distribution that every x gives.

    $$ P_{ij} = \log p(y_i \mid x_j) $$

    `conditional` runs once for each x, not for each pair.

    Args:
        conditional: maps one x to a distribution, anything with `log_prob(y)` for one y.
        x: inputs, `[b_x, ...]`; a PyTree of such, as parameters that an encoder has given.
        y: outcomes, `[b_y, ...]`.

    Returns:
        The log-densities, `[b_y, b_x]`; with trailing axes where `log_prob` keeps them, as it does
        for a distribution of independent entries.

    Example:
        >>> import jax.numpy as jnp, numpyro.distributions as dist
        >>> channel = lambda x: dist.Normal(2 * x, 1.0)
        >>> x, y = jnp.array([0.0, 1.0]), jnp.array([0.0, 2.0])
        >>> print(pairwise_log_prob(channel, x, y) - channel(0.0).log_prob(0.0))
        [[ 0. -2.]
         [-2.  0.]]
    """
    of_all = lambda one: jax.vmap(lambda x: log_prob_of_parts(conditional(x), one))(x)
    return jax.vmap(of_all)(y)


def tnce(log_conditional: Scores) -> Float[Array, ""]:
    r"""InfoNCE with the true $\log p(y|x)$ as its critic, which is optimal.

    $$ I \ge \mathrm{E}\, \frac1B \sum_i
        \log \frac{p(y_i|x_i)}{\frac1B \sum_j p(y_i|x_j)} $$

    Kind: lower bound; with `leave_one_out_upper` it encloses the mutual information. Ceiling:
    $\log B$. Small variance. Unbiased for the bound at this batch size.

    Args:
        log_conditional: `[i, j] = log p(y_i | x_j)`, `[B, B]`.

    Returns:
        The estimate from this batch, in nats.

    Raises:
        ValueError: the matrix is not square, or has fewer than 2 pairs.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{tnce(-9 * (1 - jnp.eye(4))):.3f}")
        1.386

    Source: Poole et al., arXiv 1905.06922, section 2.5.
    """
    checked_size(log_conditional, name="log_conditional")
    return infonce(log_conditional)


def leave_one_out_upper(log_conditional: Scores) -> Float[Array, ""]:
    r"""L1Out: an upper bound whose marginal is the mean of the other conditionals of the batch.

    $$ I \le \mathrm{E}\, \frac1B \sum_i
        \log \frac{p(y_i|x_i)}{\frac1{B-1} \sum_{j \ne i} p(y_i|x_j)} $$

    Kind: upper bound, for it is `ba_upper` with a random marginal. No critic. Its
    expectation exceeds that of `tnce`; that of a single batch may not. The bound is loose and its
    variance large, or infinite, where conditionals are narrow and no other one covers $y_i$; so
    show both sides.

    Args:
        log_conditional: `[i, j] = log p(y_i | x_j)`, `[B, B]`.

    Returns:
        The estimate from this batch, in nats.

    Raises:
        ValueError: the matrix is not square, or has fewer than 2 pairs.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{leave_one_out_upper(-9 * (1 - jnp.eye(4))):.3f}")
        9.000

    Source: Poole et al., arXiv 1905.06922, section 2.5.
    """
    size = checked_size(log_conditional, name="log_conditional")
    others = logsumexp(without_diagonal(log_conditional), axis=1) - math.log(size - 1)
    return jnp.mean(jnp.diagonal(log_conditional) - others)


def ba_upper(log_p_y_given_x: Float[Array, " n"], log_m: Float[Array, " n"]) -> Float[Array, ""]:
    r"""Barber and Agakov's upper bound, the rate of a channel against a marginal.

    $$ I \le \mathrm{E}_{p(x,y)} \log \frac{p(y|x)}{m(y)} $$

    Kind: upper bound, for any density m, exceeding the truth by $\mathrm{KL}(p(y) \| m(y))$; tight
    at the true marginal. No critic. Unbiased.

    Args:
        log_p_y_given_x: of pairs, `[n]`.
        log_m: of their y's, `[n]`.

    Returns:
        The estimate, in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> float(ba_upper(jnp.array([-1.0, -2.0]), jnp.array([-3.0, -3.0])))
        1.5

    Source: Poole et al., arXiv 1905.06922, section 2.1; Alemi et al., arXiv 1711.00464.
    """
    return jnp.mean(log_p_y_given_x - log_m)


def ba_lower(log_q_x_given_y: Float[Array, " n"], entropy: Number) -> Float[Array, ""]:
    r"""Barber and Agakov's lower bound, from a decoder and the entropy of x.

    $$ I \ge \mathrm{E}_{p(x,y)} \log q(x|y) + h(X) $$

    Kind: lower bound, for any conditional density q; tight at the true posterior $p(x|y)$. No
    critic. Unbiased, of small variance; but the entropy must be known.

    Args:
        log_q_x_given_y: of pairs, `[n]`.
        entropy: h(X), in nats.

    Returns:
        The estimate, in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> float(ba_lower(jnp.array([-1.0, -2.0]), 4.0))
        2.5

    Source: Poole et al., arXiv 1905.06922, section 2.1; Barber and Agakov, 2003.
    """
    return jnp.mean(log_q_x_given_y) + entropy


def uba(joint_scores: Float[Array, " n"], log_partition: Float[Array, " m"]) -> Float[Array, ""]:
    r"""The unnormalised bound of Barber and Agakov, where the partition function is known.

    $$ I \ge \mathrm{E}_{p(x,y)} f(x, y) - \mathrm{E}_{p(y)} \log Z(y), \qquad
       Z(y) = \mathrm{E}_{p(x)} e^{f(x,y)} $$

    Kind: lower bound, for any critic, if Z is exact; with an estimate of Z it is none (as `dv`).
    Optimal critic: $\log p(y|x) + c(y)$, where it is tight. Ceiling: none. Unbiased. The bounds on
    scores alone replace the intractable $\log Z$ by what may be estimated.

    Args:
        joint_scores: f of pairs drawn together, `[n]`.
        log_partition: $\log Z$ of draws of y, `[m]`.

    Returns:
        The estimate, in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> float(uba(jnp.array([1.0, 2.0]), jnp.array([0.25, 0.75])))
        1.0

    Source: Poole et al., arXiv 1905.06922, section 2.2.
    """
    return jnp.mean(joint_scores) - jnp.mean(log_partition)
