"""The Gaussian that a density has to beat."""

import numpy as np
from jaxtyping import Float


def fitted_gaussian(
    fitted_to: Float[np.ndarray, "n dim"], x: Float[np.ndarray, "m dim"]
) -> Float[np.ndarray, " m"]:
    """The log-density of `x` under the Gaussian with the mean and covariance of other points."""
    return gaussian(x - fitted_to.mean(axis=0), np.cov(fitted_to.T))


def gaussian(
    x: Float[np.ndarray, "n dim"], covariance: Float[np.ndarray, "dim dim"]
) -> Float[np.ndarray, " n"]:
    """The log-density of `x` under a Gaussian of mean zero."""
    squares = np.sum(x * np.linalg.solve(covariance, x.T).T, axis=1)
    return -(squares + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2
