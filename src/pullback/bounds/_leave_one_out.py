"""Means of exponentials over a matrix of scores that leave something out, in log space."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, Scalar


def leave_one_out_log_mean_exp(scores: Float[Array, "rows k"]) -> Float[Array, "rows k"]:
    r"""The log-mean-exp of every row without one entry, for each entry.

    $$ L_{ij} = \log \frac{1}{k - 1} \sum_{l \ne j} e^{F_{il}} $$

    It costs one exponential and one logarithm an entry. The largest entry of a row is treated
    apart, so nothing cancels however far it stands out.

    Args:
        scores: $F$, `[rows, k]` with k at least 2.

    Returns:
        $L$, `[rows, k]`.

    Raises:
        ValueError: a row has fewer than 2 entries.

    Example:
        >>> import jax.numpy as jnp
        >>> left = leave_one_out_log_mean_exp(jnp.log(jnp.array([[1.0, 3.0, 5.0]])))
        >>> [round(float(mean), 3) for mean in jnp.exp(left[0])]
        [4.0, 3.0, 2.0]
    """
    if scores.shape[1] < 2:
        raise ValueError(
            f"`scores` must have 2 or more entries a row, got the shape {list(scores.shape)}; "
            "without the only one there is nothing left."
        )
    parts = parts_of_rows(scores)
    weight = jnp.asarray(-math.log(scores.shape[1] - 1), scores.dtype)
    sums = sums_without(parts, weight, jnp.full(len(scores), -jnp.inf, scores.dtype))
    rest = sums.shift[:, None] + jnp.log(sums.total[:, None] - sums.scale[:, None] * parts.others)
    largest = jnp.arange(scores.shape[1])[None] == parts.place[:, None]
    return jnp.where(largest, sums.without_largest[:, None], rest)


def off_diagonal_log_mean_exp(scores: Float[Array, "n m"]) -> Float[Array, ""]:
    r"""The log-mean-exp of all entries off the diagonal.

    $$ \log \frac{1}{n (n - 1)} \sum_{i \ne j} e^{F_{ij}} $$

    Args:
        scores: $F$, `[n, n]` with n at least 2.

    Raises:
        ValueError: `scores` is not square, or n is below 2.

    Example:
        >>> import jax.numpy as jnp
        >>> scores = jnp.log(jnp.array([[9.0, 1.0], [3.0, 9.0]]))
        >>> print(f"{off_diagonal_log_mean_exp(scores):.4f}")
        0.6931
    """
    size = checked_size(scores)
    return logsumexp(without_diagonal(scores)) - math.log(size * (size - 1))


def without_diagonal(scores: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The scores with minus infinity on the diagonal."""
    size = len(scores)
    eye = jnp.arange(size)[:, None] == jnp.arange(size)[None]
    return jnp.where(eye, -jnp.inf, scores)


def checked_size(scores: Array, *, name: str = "scores") -> int:
    """The number of pairs in a square matrix of at least two, or an error that names it."""
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(
            f"`{name}` must be square, [i, j] for y_i and x_j with the pairs on the diagonal; got "
            f"the shape {list(scores.shape)}."
        )
    if len(scores) < 2:
        raise ValueError(
            f"`{name}` must hold 2 or more pairs, got {len(scores)}; one pair has no negatives."
        )
    return len(scores)


class Parts(NamedTuple):
    """Each row in two parts, its largest entry and the others, on scales of their own.

    The difference of a sum and one of its terms loses all digits where the term is nearly the sum.
    That can only be the largest; so the others' sum is kept by itself, and never had it inside.
    """

    place: Int[Array, " rows"]
    largest: Float[Array, " rows"]
    second: Float[Array, " rows"]
    # exp(entry - second), and 0 at the place of the largest.
    others: Float[Array, "rows k"]
    others_sum: Float[Array, " rows"]


class Sums(NamedTuple):
    """Of a row: `shift + log(total - scale * others)` leaves out one of the others."""

    shift: Float[Array, " rows"]
    total: Float[Array, " rows"]
    scale: Float[Array, " rows"]
    without_largest: Float[Array, " rows"]


def parts_of_rows(scores: Float[Array, "rows k"]) -> Parts:
    """The largest entry and the exponentials of the others, one pass each."""
    place = jnp.argmax(scores, axis=1)
    at_largest = jnp.arange(scores.shape[1])[None] == place[:, None]
    largest = jnp.take_along_axis(scores, place[:, None], axis=1)[:, 0]
    others = jnp.where(at_largest, -jnp.inf, scores)
    second = _as_scale(jnp.max(others, axis=1))
    exps = jnp.exp(others - second[:, None])
    return Parts(place, largest, second, exps, jnp.sum(exps, axis=1))


def sums_without(parts: Parts, log_weight: Scalar, log_extra: Float[Array, " rows"]) -> Sums:
    r"""Of `log( w * sum of the row without one entry + extra )`, what a row shares.

    With the larger of all terms as the scale, `total - scale * others` is at least the 1 that this
    term contributes; so the difference keeps its digits.
    """
    first, second = _as_scale(parts.largest) + log_weight, parts.second + log_weight
    shift = _as_scale(jnp.maximum(first, log_extra))
    scale = jnp.exp(second - shift)
    total = (
        jnp.exp(parts.largest + log_weight - shift)
        + scale * parts.others_sum
        + jnp.exp(log_extra - shift)
    )
    below = _as_scale(jnp.maximum(second, log_extra))
    rest = jnp.exp(second - below) * parts.others_sum + jnp.exp(log_extra - below)
    return Sums(shift, total, scale, below + jnp.log(rest))


def _as_scale(largest: Array) -> Array:
    """A constant for the gradient; 0 where it is infinite, as where all scores are masked."""
    return jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0))
