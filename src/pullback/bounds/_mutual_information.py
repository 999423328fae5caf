"""Bounds on mutual information from a matrix of critic scores.

All take `scores[i, j] = f(x_j, y_i)`: the pairs that were drawn together lie on the diagonal, and
the rest of the matrix stands for draws from the product of the marginals. All are in nats.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Scalar

from pullback.bounds._leave_one_out import checked_size, off_diagonal_log_mean_exp

# Rows are y's and columns x's. Both have the same size; what is not square gets a message of ours.
Scores = Float[Array, "y x"]
# One number for each y, or one for all.
Baseline = Float[Array, "*y"]
Number = float | int | Scalar


def infonce(scores: Scores) -> Float[Array, ""]:
    r"""InfoNCE: a lower bound of small variance that cannot exceed $\log B$.

    $$ I \ge \mathrm{E}\, \frac1B \sum_i \log \frac{e^{F_{ii}}}{\frac1B \sum_j e^{F_{ij}}} $$

    Kind: lower bound, for any scores, of batches of this size. Optimal critic: $\log p(y|x)$ plus
    any function of y. Ceiling: $\log B$; where the mutual information is larger the bound is loose
    and its variance goes to zero. Gradients are unbiased for the bound at this batch size.

    Args:
        scores: `[i, j] = f(x_j, y_i)`, `[B, B]`.

    Returns:
        The estimate from this batch, in nats.

    Raises:
        ValueError: `scores` is not square, or has fewer than 2 pairs.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{infonce(40 * jnp.eye(8)):.4f} of at most {math.log(8):.4f}")
        2.0794 of at most 2.0794

    Source: Poole et al., On Variational Bounds of Mutual Information, arXiv 1905.06922, section
        2.3; van den Oord et al., arXiv 1807.03748.
    """
    size = checked_size(scores)
    return jnp.mean(jnp.diagonal(scores) - logsumexp(scores, axis=1)) + math.log(size)


def tuba(scores: Scores, log_baseline: Baseline) -> Float[Array, ""]:
    r"""TUBA: an unbiased lower bound with a baseline $a(y)$ that may be learned.

    $$ I \ge 1 + \mathrm{E}_{p(x,y)} \log \frac{e^{f(x,y)}}{a(y)}
        - \mathrm{E}_{p(x)p(y)} \frac{e^{f(x,y)}}{a(y)} $$

    Kind: lower bound, for any critic and any baseline. Optimal: $f = \log p(y|x) + c(y)$ with
    $\log a(y)$ the log of $\mathrm{E}_{p(x)} e^{f(x,y)}$, and then it is tight. Ceiling: none.
    Value and gradient are unbiased; the variance grows exponentially with the mutual information.

    Args:
        scores: `[i, j] = f(x_j, y_i)`, `[B, B]`.
        log_baseline: $\log a(y_i)$, `[B]`, or one number for all.

    Returns:
        The estimate from this batch, in nats.

    Raises:
        ValueError: `scores` is not square, has fewer than 2 pairs, or `log_baseline` has another
            shape.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{tuba(jnp.log(4 * jnp.eye(4) + 1e-3), jnp.zeros(4)):.3f}")
        2.386

    Source: Poole et al., arXiv 1905.06922, section 2.2.
    """
    size = checked_size(scores)
    ratio = scores - checked_baseline(log_baseline, size)[:, None]
    return 1 + jnp.mean(jnp.diagonal(ratio)) - jnp.exp(off_diagonal_log_mean_exp(ratio))


def nwj(scores: Scores) -> Float[Array, ""]:
    r"""NWJ, also called f-GAN KL or MINE-f: TUBA with the baseline $a(y) = e$.

    $$ I \ge \mathrm{E}_{p(x,y)} f(x, y) - e^{-1}\, \mathrm{E}_{p(x)p(y)} e^{f(x,y)} $$

    Kind: lower bound, for any critic. Optimal critic: $1 + \log p(x|y) / p(x)$, where it is tight.
    Ceiling: none. Value and gradient are unbiased; the variance grows exponentially with the mutual
    information, for the second term is a mean of $e^f$.

    Args:
        scores: `[i, j] = f(x_j, y_i)`, `[B, B]`.

    Returns:
        The estimate from this batch, in nats.

    Raises:
        ValueError: `scores` is not square, or has fewer than 2 pairs.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{nwj(jnp.ones((5, 5))):.4f}")  # the critic that is optimal for independence
        0.0000

    Source: Poole et al., arXiv 1905.06922, section 2.2; Nguyen, Wainwright and Jordan, 2010.
    """
    return tuba(scores, jnp.ones((), scores.dtype))


def dv(scores: Scores) -> Float[Array, ""]:
    r"""Donsker and Varadhan's representation, estimated from a batch; no bound.

    $$ \mathrm{E}_{p(x,y)} f(x, y) - \log \mathrm{E}_{p(x)p(y)} e^{f(x,y)} $$

    Kind: neither. The population's value is a lower bound, but the log of a batch's mean is too
    small on average, so that the estimate comes out too large: above the truth at a good critic.
    Optimal critic: $\log p(x|y) / p(x)$ plus a constant. Ceiling: none. The gradient is biased.

    Args:
        scores: `[i, j] = f(x_j, y_i)`, `[B, B]`.

    Returns:
        The estimate from this batch, in nats.

    Raises:
        ValueError: `scores` is not square, or has fewer than 2 pairs.

    Example:
        >>> import jax.numpy as jnp
        >>> scores = jnp.log(4 * jnp.eye(4) + 1e-3)
        >>> print(f"{dv(scores):.3f} {dv(scores + 7):.3f}")  # a shift changes nothing
        8.294 8.294

    Source: Poole et al., arXiv 1905.06922, section 2.2; Donsker and Varadhan, 1983.
    """
    checked_size(scores)
    return jnp.mean(jnp.diagonal(scores)) - off_diagonal_log_mean_exp(scores)


class MineEstimate(NamedTuple):
    """A step of MINE.

    Attributes:
        value: Donsker and Varadhan's estimate, with the gradient of MINE.
        log_average: the log of the moving average, for the next step.
    """

    value: Float[Array, ""]
    log_average: Float[Array, ""]


def mine(scores: Scores, log_average: Scalar, *, rate: Number = 0.01) -> MineEstimate:
    r"""MINE: `dv` with a gradient whose denominator is a moving average over batches.

    $$ \nabla = \mathrm{E}\, \nabla f - \frac{\mathrm{E}\, e^f \nabla f}{\bar e}, \qquad
       \bar e \leftarrow (1 - r)\, \bar e + r\, \mathrm{E}\, e^f $$

    Kind: neither bound; the value is that of `dv`, and exceeds the truth at a good critic. The bias
    of the gradient goes to zero with the rate, while critic and average keep pace. Ceiling: none.
    In derivatives beyond the first the average moves with the critic as the batch's mean does,
    $\partial \bar e = \partial\, \mathrm{E}\, e^f$.

    Args:
        scores: `[i, j] = f(x_j, y_i)`, `[B, B]`.
        log_average: $\log \bar e$ from the step before; at the first, `-inf`, and the average
            starts as that of the batch.
        rate: r, the weight of this batch in the average, in (0, 1].

    Returns:
        A `MineEstimate`.

    Raises:
        ValueError: `scores` is not square, has fewer than 2 pairs, or `rate` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> scores = jnp.log(4 * jnp.eye(4) + 1e-3)
        >>> value, log_average = mine(scores, jnp.asarray(-jnp.inf))
        >>> print(f"{value:.3f} {log_average:.3f}")
        8.294 -6.908

    Source: Belghazi et al., Mutual Information Neural Estimation, arXiv 1801.04062, section 3.2.
    """
    checked_size(scores)
    rate = within(rate, "rate", scores.dtype, above_zero=True)
    log_mean = off_diagonal_log_mean_exp(scores)
    here, before = jax.lax.stop_gradient((log_mean, log_average))
    later = jnp.logaddexp(jnp.log1p(-rate) + before, jnp.log(rate) + here)
    later = jnp.where(jnp.isneginf(before), here, later)
    joint = jnp.mean(jnp.diagonal(scores))
    share = jnp.exp(log_mean - later)
    # The logarithm of the average as it moves with the critic: its value is `later`, and whatever
    # is differentiated a second time has the average's own slope in it.
    moved = jnp.log1p(share - jax.lax.stop_gradient(share))
    return MineEstimate(_valued(joint - moved, joint - log_mean), later)


def js_nwj(scores: Scores) -> Float[Array, ""]:
    r"""The value of NWJ, with the gradient of the Jensen-Shannon objective.

    $$ \text{value: } 1 + \mathrm{E}_{p(x,y)} f - \mathrm{E}_{p(x)p(y)} e^{f}, \qquad
       \text{gradient of: } -\mathrm{E}_{p(x,y)} \operatorname{softplus}(-f)
       - \mathrm{E}_{p(x)p(y)} \operatorname{softplus}(f) $$

    Kind: the value is a lower bound, `nwj(scores + 1)`. Optimal critic of either: $\log p(x|y) /
    p(x)$, where the value is tight. Ceiling: none. Training is stable, for no exponential is in it;
    the value's variance is that of NWJ or far above, where the critic errs upwards on a rare pair.

    Args:
        scores: `[i, j] = f(x_j, y_i)`, `[B, B]`.

    Returns:
        The estimate from this batch, in nats.

    Raises:
        ValueError: `scores` is not square, or has fewer than 2 pairs.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{js_nwj(jnp.zeros((5, 5))):.4f}")
        0.0000

    Source: Poole et al., arXiv 1905.06922, section 2.2; Hjelm et al., arXiv 1808.06670.
    """
    size = checked_size(scores)
    joint = jnp.diagonal(scores)
    softplus = jax.nn.softplus(scores)
    apart = (jnp.sum(softplus) - jnp.sum(jnp.diagonal(softplus))) / (size * (size - 1))
    surrogate = jnp.mean(-jax.nn.softplus(-joint)) - apart
    return _valued(surrogate, nwj(scores + 1))


def _valued(surrogate: Array, value: Array) -> Array:
    """`value`, with the gradient of `surrogate`."""
    # Not surrogate + (value - surrogate): a large surrogate would swallow the value's digits.
    return jax.lax.stop_gradient(value) + (surrogate - jax.lax.stop_gradient(surrogate))


def checked_baseline(log_baseline: Array, size: int) -> Array:
    """A number for each y, `[size]`."""
    if log_baseline.shape not in ((), (size,)):
        raise ValueError(
            f"`log_baseline` must have one number for each y, shape [{size}], or be a scalar; got "
            f"the shape {list(log_baseline.shape)}."
        )
    return jnp.broadcast_to(log_baseline, (size,))


def within(value: Number, name: str, dtype, *, above_zero: bool = False) -> Array:
    """A number in [0, 1] as an array of this dtype; a traced one is taken on trust."""
    if not isinstance(value, Tracer):
        number = float(value)
        if not (0 <= number <= 1) or (above_zero and number == 0):
            raise ValueError(
                f"`{name}` must be in {'(' if above_zero else '['}0, 1], got {number:g}."
            )
    return jnp.asarray(value, dtype)
