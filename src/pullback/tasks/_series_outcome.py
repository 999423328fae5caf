"""An outcome of each series, by a logistic regression on what is known of the series."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from ._series_asked import Known

_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
SUMMARIES = ("mean", "last", "least", "greatest", "number")


def summaries(known: Known, process: Float[np.ndarray, "s t v"]) -> Float[np.ndarray, "s f"]:
    """Of each variable mean, last, least and greatest value, and the logarithm of their number + 1.

    Where there is no value, the model's mean stands for it.
    """
    mask, count = known.mask, known.mask.sum(axis=1)
    mean = np.where(count > 0, known.values.sum(axis=1) / np.maximum(count, 1), 0.0)
    least = np.where(mask, known.values, np.inf).min(axis=1)
    greatest = np.where(mask, known.values, -np.inf).max(axis=1)
    none = count == 0
    columns = [
        mean, process[:, -1], np.where(none, 0.0, least), np.where(none, 0.0, greatest),
        np.log1p(count),
    ]  # fmt: skip
    return np.stack(columns, axis=2).reshape(len(mask), -1)


class Outcome(NamedTuple):
    """Log-odds of classes, linear in some of the features.

    Attributes:
        mean: of the features.
        deviation: of the features; infinite of one that has no part.
        weight: `[class, feature]`.
        bias: of each class.
    """

    mean: Float[np.ndarray, " f"]
    deviation: Float[np.ndarray, " f"]
    weight: Float[np.ndarray, "c f"]
    bias: Float[np.ndarray, " c"]

    def log_prob(self, features: Float[np.ndarray, "s f"]) -> Float[np.ndarray, "s c"]:
        """Log-probabilities of the classes."""
        z = (features - self.mean) / self.deviation
        # Entry by entry: sums of a product of matrices depend on how many rows there are.
        return log_softmax((z[:, None, :] * self.weight).sum(axis=2) + self.bias, axis=1)


def fit_outcome(
    features: Float[np.ndarray, "s f"], label: np.ndarray, plain: int, parts: tuple
) -> tuple[Outcome, dict[str, Any]]:
    """The regression on summaries; on codes too where that gains for sure on held-out series.

    Args:
        features: of each series, the codes after the first `plain`.
        label: places of classes, -1 where it is not known.
        plain: how many features are summaries.
        parts: places of series to train on, to choose by, and to tell how good it is.

    Returns:
        The regression, and how good it is beside the share of each class.
    """
    train, choose, test = (part[label[part] >= 0] for part in parts)
    classes = int(label.max()) + 1
    if len(np.unique(label[train])) < classes:
        raise ValueError("an outcome has too few series; each needs several.")
    choose = choose if len(choose) else train
    without = _best(features[:, :plain], label, train, choose, features.shape[1])
    chosen, codes = without, False
    if features.shape[1] > plain:
        whole = _best(features, label, train, choose, features.shape[1])
        gain = _picked(whole, features, label, choose) - _picked(without, features, label, choose)
        if len(gain) > 1 and gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(len(gain)):
            chosen, codes = whole, True
    test = test if len(test) else choose
    share = np.bincount(label[train], minlength=classes) / len(train)
    loss = -_picked(chosen, features, label, test)
    gap = -np.log(share[label[test]]) - loss
    found = chosen.log_prob(features[test])
    return chosen, {
        "series": len(test),
        "codes": codes,
        "log_loss": float(loss.mean()),
        "accuracy": float((found.argmax(axis=1) == label[test]).mean()),
        "most_frequent": float((share.argmax() == label[test]).mean()),
        "behind": float(gap.mean()),
        "standard_error": float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else None,
    }


def _picked(outcome: Outcome, features: np.ndarray, label: np.ndarray, rows: np.ndarray) -> Any:
    return outcome.log_prob(features[rows])[np.arange(len(rows)), label[rows]]


def _best(
    features: np.ndarray, label: np.ndarray, train: np.ndarray, choose: np.ndarray, width: int
) -> Outcome:
    """Of some strengths of regularisation the one that does best on the series to choose by."""
    x = features[train]
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    moves = deviation > 1e-9
    deviation = np.where(moves, deviation, np.inf)
    found = []
    for strength in _STRENGTHS:
        model: Any = LogisticRegression(C=strength, max_iter=1000)
        model.fit((x - mean) / deviation, label[train])
        weight, bias = model.coef_, model.intercept_
        if len(weight) == 1:  # of two classes the second's
            weight, bias = np.concatenate([0 * weight, weight]), np.append(0.0, bias)
        outcome = Outcome(
            _wide(mean, width), _wide(deviation, width, np.inf), _wide(weight, width), bias
        )
        found.append((_picked(outcome, _wide(features, width), label, choose).mean(), outcome))
    return max(found, key=lambda pair: pair[0])[1]


def _wide(array: np.ndarray, width: int, fill: float = 0.0) -> np.ndarray:
    """With features that have no part."""
    more = [(0, 0)] * (array.ndim - 1) + [(0, width - array.shape[-1])]
    return np.pad(array, more, constant_values=fill)
