"""What a regression starts from: a line, and how far off it is on rows that it has not seen."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import RidgeCV

from ._bayes_nets import Lines
from ._regression_scores import Predicted

_STRENGTHS = np.logspace(-3, 4, 15)  # of the penalty of a line
_FOLDS, _FEWEST = 10, 4
_CLOSEST = 1e-6  # of the deviation of numbers, what a line is off at least


class Errors(NamedTuple):
    """Of rows what was predicted, and how it compares with what came true.

    Attributes:
        mean: predicted.
        std: predicted.
        scaled: by how many of those deviations the mean was too low.
        log_likelihood: of what came true, in nats.
    """

    mean: Float[np.ndarray, " n"]
    std: Float[np.ndarray, " n"]
    scaled: Float[np.ndarray, " n"]
    log_likelihood: Float[np.ndarray, " n"]

    @classmethod
    def of(
        cls,
        mean: Float[np.ndarray, " n"],
        std: Float[np.ndarray, " n"],
        true: Float[np.ndarray, " n"],
    ) -> "Errors":
        """Those of a mean and a deviation."""
        scaled = (true - mean) / std
        log_likelihood = -np.square(scaled) / 2 - np.log(std * np.sqrt(2 * np.pi))
        return cls(mean, std, scaled, log_likelihood)


def fit_line(z: Float[np.ndarray, "n d"], u: Float[np.ndarray, " n"]) -> Lines:
    """Ridge regression of the penalty that is best leaving one out, and how far off it is.

    Args:
        z: standardised rows.
        u: numbers of mean 0 and scale 1.

    Returns:
        The line of the mean, and the logarithm of one deviation.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        model = RidgeCV(_STRENGTHS).fit(z, u)
    off = float(np.sqrt(np.mean(np.square(u - model.predict(z)))))
    weight = np.stack([model.coef_, np.zeros(z.shape[1])])
    return Lines(weight, np.asarray([float(model.intercept_), np.log(max(off, _CLOSEST))]))


def cross_errors(
    z: Float[np.ndarray, "n d"], u: Float[np.ndarray, " n"], generator: np.random.RandomState
) -> Float[np.ndarray, " errors"]:
    """How far off lines are on rows held out in turn, in units of the line's own deviation."""
    if len(u) < _FEWEST:
        return np.asarray([-1.0, 1.0])
    order, off = generator.permutation(len(u)), np.empty(len(u))
    for test in (order[k::_FOLDS] for k in range(min(_FOLDS, len(u)))):
        rows = np.setdiff1d(order, test)
        line = fit_line(z[rows], u[rows])
        off[test] = u[test] - (z[test] @ line.weight[0] + line.bias[0])
    return off / np.exp(fit_line(z, u).bias[1])


def joined(parts: Sequence[Predicted]) -> Predicted:
    """Predictions of several sets of rows as one."""
    ends = zip(*((part.mean, part.lower, part.upper) for part in parts), strict=True)
    mean, lower, upper = map(np.concatenate, ends)
    stds = [part.std for part in parts if part.std is not None]
    return Predicted(mean, lower, upper, np.concatenate(stds) if stds else None)
