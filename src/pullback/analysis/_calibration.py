"""Whether predicted probabilities mean what they say."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from pullback._floating import at_least_float32

Probs = Float[Array | np.ndarray, "n classes"]
Labels = Int[Array | np.ndarray, " n"]
CalibrationNorm = Literal["l1", "l2", "max"]


class ReliabilityCurve(NamedTuple):
    """How often a classifier is right, by how sure it is.

    Attributes:
        edges: of the bins of the confidence, equal parts of [0, 1].
        count: examples in each bin.
        confidence: their mean confidence, the largest of the probabilities; NaN in an empty bin.
        accuracy: the share of them that is classified rightly; NaN in an empty bin.
    """

    edges: Float[Array, " edges"]
    count: Int[Array, " bins"]
    confidence: Float[Array, " bins"]
    accuracy: Float[Array, " bins"]


def reliability_curve(probs: Probs, labels: Labels, *, bins: int = 15) -> ReliabilityCurve:
    """Accuracy against confidence, in bins of equal width.

    A bin holds confidences above its left edge and up to its right one, as is usual. Sums are in
    float32 or better, whatever the probabilities are in.

    Args:
        probs: a probability for each class, `[n, classes]`.
        labels: the classes, from 0, `[n]`.
        bins: how many bins.

    Raises:
        ValueError: `bins` is below 1, the probabilities are not such, or a label is out of range;
            where a call is being compiled, the last two make the answer NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> probs = jnp.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
        >>> curve = reliability_curve(probs, jnp.array([0, 1, 0]), bins=2)
        >>> curve.count.tolist(), [round(float(a), 3) for a in curve.accuracy]
        ([0, 3], [nan, 0.667])

    Source: Guo et al., On Calibration of Modern Neural Networks (arXiv 1706.04599), section 2.
    """
    probs, labels = _checked(probs, labels)
    if bins < 1:
        raise ValueError(f"`bins` must be at least 1, got {bins}.")
    # Each edge rounded once, so that a confidence that is written as an edge lies on it.
    edges = jnp.asarray(np.arange(bins + 1) / bins, probs.dtype)
    confidence = jnp.max(probs, axis=1)
    right = (jnp.argmax(probs, axis=1) == labels).astype(jnp.int32)
    which = jnp.clip(jnp.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    total = lambda values: jnp.zeros(bins, values.dtype).at[which].add(values)
    count = total(jnp.ones_like(which))
    # 0 / 0 is the NaN of an empty bin.
    size = count.astype(probs.dtype)
    return ReliabilityCurve(
        edges, count, total(confidence) / size, total(right).astype(size.dtype) / size
    )


def expected_calibration_error(
    probs: Probs, labels: Labels, *, bins: int = 15, norm: CalibrationNorm = "l1"
) -> Float[Array, ""]:
    r"""The gap between confidence and accuracy, over bins of equal width.

    $$ g_b = |\mathrm{accuracy}_b - \mathrm{confidence}_b|, \qquad
       \mathrm{ECE} = \sum_b \frac{n_b}{n}\, g_b, \quad
       \mathrm{RMSCE} = \Big(\sum_b \frac{n_b}{n}\, g_b^2\Big)^{1/2}, \quad
       \mathrm{MCE} = \max_b g_b $$

    The maximum is over the bins that hold any example: of many bins it is that of the smallest one.

    Args:
        probs: a probability for each class, `[n, classes]`.
        labels: the classes, from 0, `[n]`.
        bins: how many bins.
        norm: "l1", the expected error (ECE); "l2", the root of the mean squared one; "max", the
            maximum (MCE).

    Returns:
        A number between 0 and 1. For the same bins l1 <= l2 <= max.

    Raises:
        ValueError: as `reliability_curve`, or `norm` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> always = jnp.array([[0.7, 0.3]] * 10)
        >>> right_seven_times = jnp.array([0] * 7 + [1] * 3)
        >>> round(float(expected_calibration_error(always, right_seven_times)), 6)
        0.0

    Source: Guo et al., arXiv 1706.04599, equations 3 and 5; Kumar, Liang and Ma, Verified
        Uncertainty Calibration, arXiv 1909.10155, for l2.
    """
    if norm not in get_args(CalibrationNorm):
        raise ValueError(
            f"`norm` must be one of {', '.join(get_args(CalibrationNorm))}, got {norm!r}."
        )
    curve = reliability_curve(probs, labels, bins=bins)
    share = curve.count.astype(curve.accuracy.dtype) / len(labels)
    gap = jnp.where(curve.count > 0, jnp.abs(curve.accuracy - curve.confidence), 0)
    match norm:
        case "l1":
            return jnp.sum(share * gap)
        case "l2":
            square = jnp.sum(share * jnp.square(gap))
            # A root has no slope at zero, where the error is least: 0 as of the others.
            return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        case _:
            return jnp.max(gap)


def brier_score(probs: Probs, labels: Labels) -> Float[Array, ""]:
    r"""The mean squared distance of the probabilities from the truth.

    $$ \frac1n \sum_i \sum_c (p_{ic} - [c = y_i])^2 $$

    Args:
        probs: a probability for each class, `[n, classes]`.
        labels: the classes, from 0, `[n]`.

    Returns:
        A number between 0 and 2.

    Raises:
        ValueError: as `reliability_curve`.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(brier_score(jnp.array([[0.9, 0.1]]), jnp.array([0]))), 6)
        0.02

    Source: G. W. Brier, Verification of forecasts expressed in terms of probability, 1950.
    """
    probs, labels = _checked(probs, labels)
    truth = jax.nn.one_hot(labels, probs.shape[1], dtype=probs.dtype)
    return jnp.mean(jnp.sum(jnp.square(probs - truth), axis=1))


def negative_log_likelihood(probs: Probs, labels: Labels) -> Float[Array, ""]:
    r"""The mean negative log-likelihood of the labels, $-\frac1n \sum_i \log p_{i y_i}$, in nats.

    A probability of zero counts as the smallest number of its dtype.

    Args:
        probs: a probability for each class, `[n, classes]`.
        labels: the classes, from 0, `[n]`.

    Raises:
        ValueError: as `reliability_curve`.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(negative_log_likelihood(jnp.array([[0.5, 0.5]]), jnp.array([0]))), 4)
        0.6931
    """
    probs, labels = _checked(probs, labels)
    of_truth = jnp.take_along_axis(probs, labels[:, None], axis=1)
    return -jnp.mean(jnp.log(jnp.maximum(of_truth, jnp.finfo(probs.dtype).tiny)))


def _checked(probs: Probs, labels: Labels) -> tuple[Array, Array]:
    probs, labels = jnp.asarray(probs), jnp.asarray(labels)
    if probs.ndim != 2 or labels.shape != probs.shape[:1] or not len(labels):
        raise ValueError(
            "`probs` must have shape [n, classes] and `labels` shape [n], with n at least 1; got "
            f"{list(probs.shape)} and {list(labels.shape)}."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"`labels` must be whole numbers, the classes; got {labels.dtype}.")
    given = probs.dtype if jnp.issubdtype(probs.dtype, jnp.floating) else jnp.result_type(float)
    # A sum of many numbers is off by this much; logits or percents are off by far more.
    slack = max(1e-3, 2 * float(jnp.finfo(given).eps))
    probs = probs.astype(at_least_float32(given))
    summing = jnp.all(probs >= 0, axis=1) & (jnp.abs(jnp.sum(probs, axis=1) - 1) < slack)
    known = (labels >= 0) & (labels < probs.shape[1])
    if isinstance(summing, Tracer) or isinstance(known, Tracer):
        return jnp.where((summing & known)[:, None], probs, jnp.nan), labels
    if not bool(jnp.all(summing)):
        row = int(jnp.argmin(summing))
        raise ValueError(
            "each row of `probs` must be probabilities that sum to 1; row "
            f"{row} is {np.asarray(probs[row])}, which sums to {float(jnp.sum(probs[row])):g}. Of "
            "logits take jax.nn.softmax."
        )
    if not bool(jnp.all(known)):
        raise ValueError(
            f"`labels` must lie between 0 and {probs.shape[1] - 1}, got {int(jnp.min(labels))} to "
            f"{int(jnp.max(labels))}."
        )
    return probs, labels
