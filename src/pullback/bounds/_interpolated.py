"""The bound between TUBA and InfoNCE."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from pullback.bounds._leave_one_out import Sums, checked_size, parts_of_rows, sums_without
from pullback.bounds._mutual_information import (
    Baseline,
    Number,
    Scores,
    checked_baseline,
    within,
)


def interpolated(scores: Scores, log_baseline: Baseline, alpha: Number) -> Float[Array, ""]:
    r"""$I_\alpha$: between TUBA (alpha 0) and InfoNCE (alpha 1), for bias against variance.

    $$ I \ge 1 + \mathrm{E} \log \frac{e^{f(x_1,y)}}{a(y; x_{1:K})}
        - \mathrm{E} \frac{e^{f(x_1,y)}}{a(y; x_{1:K})}, \qquad
       a(y; x_{1:K}) = \alpha \tfrac1K \sum_k e^{f(x_k, y)} + (1 - \alpha)\, q(y) $$

    with $K = B - 1$: every choice of all but one x of the batch is one set $x_{1:K}$. It costs
    one exponential and one logarithm an entry.

    Kind: lower bound, for any critic, baseline and alpha. Optimal: $f = \log p(y|x) + c(y)$, with
    $\log q(y)$ the log of $\mathrm{E}_{p(x)} e^{f(x,y)}$. Ceiling: $1 + \log((B - 1) / \alpha)$.
    Value and gradient are unbiased for the bound at this K. A small alpha has little bias and a
    large variance, a large one the reverse.

    Args:
        scores: `[i, j] = f(x_j, y_i)`, `[B, B]`.
        log_baseline: $\log q(y_i)$, `[B]`, or one number for all.
        alpha: the weight of the batch's own mean in the baseline, in [0, 1].

    Returns:
        The estimate from this batch, in nats.

    Raises:
        ValueError: `scores` is not square, has fewer than 2 pairs, `log_baseline` has another
            shape, or `alpha` is out of range (checked outside of `jit`).

    Example:
        >>> import jax.numpy as jnp
        >>> scores = jnp.log(4 * jnp.eye(4) + 1e-3)
        >>> [round(float(interpolated(scores, jnp.zeros(4), a)), 3) for a in (0.0, 0.5, 1.0)]
        [2.386, 2.23, 1.098]

    Source: Poole et al., arXiv 1905.06922, section 2.4.
    """
    size = checked_size(scores)
    alpha = within(alpha, "alpha", scores.dtype)
    baseline = checked_baseline(log_baseline, size)
    parts, pairs = parts_of_rows(scores), size * (size - 1)
    joint_scores, own_is_largest = jnp.diagonal(scores), parts.place == jnp.arange(size)
    # The diagonal of `parts.others`, whose gradient would be one more matrix.
    own = jnp.exp(jnp.where(own_is_largest, -jnp.inf, joint_scores) - parts.second)

    def without_own(sums: Sums) -> Array:
        rest = sums.shift + jnp.log(sums.total - sums.scale * own)
        return jnp.where(own_is_largest, sums.without_largest, rest)

    mixed = sums_without(parts, jnp.log(alpha) - math.log(size - 1), jnp.log1p(-alpha) + baseline)
    without = jnp.log(mixed.total[:, None] - mixed.scale[:, None] * parts.others)
    # In the sum over each row, the term of the largest is put right.
    summed = (size - 1) * mixed.shift - jnp.log(mixed.total) + mixed.without_largest
    summed = summed + jnp.sum(without, axis=1)
    at_own = without_own(mixed)
    joint = jnp.mean(joint_scores) - jnp.sum(summed - at_own) / pairs
    batch = sums_without(
        parts, jnp.asarray(-math.log(size - 1), scores.dtype), jnp.full_like(baseline, -jnp.inf)
    )
    # A ratio of at most 1 / alpha, so this does not overflow.
    return 1 + joint - jnp.mean(jnp.exp(without_own(batch) - at_own))


def interpolated_ceiling(batch_size: int, alpha: float | int) -> float:
    r"""The most that `interpolated` gives at any scores: $1 + \log((B - 1) / \alpha)$.

    $a(y_i; x_{1:K})$ is at least $\alpha e^{F_{ii}} / (B - 1)$ wherever $x_i$ is among the K.

    Args:
        batch_size: B, the number of pairs.
        alpha: the weight of the batch's own mean, in [0, 1].

    Returns:
        The ceiling in nats, infinite at alpha 0.

    Example:
        >>> round(interpolated_ceiling(64, 0.01), 3)
        9.748
    """
    return math.inf if alpha == 0 else 1 + math.log((batch_size - 1) / alpha)
