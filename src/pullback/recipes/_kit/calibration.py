"""How well a classifier's probabilities are calibrated, in one program."""

import jax
from jaxtyping import Array

from pullback.analysis import brier_score, expected_calibration_error, negative_log_likelihood


@jax.jit
def calibration(probs: Array, labels: Array) -> dict[str, Array]:
    """Scores of probabilities `[n, classes]`: `nll` in nats, `brier` and `ece`."""
    return {
        "nll": negative_log_likelihood(probs, labels),
        "brier": brier_score(probs, labels),
        "ece": expected_calibration_error(probs, labels),
    }
