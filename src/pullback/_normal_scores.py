"""Columns as normal scores: their ranks, as a Gaussian would have them."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri
from scipy.stats import rankdata

_FEW = 0.01  # of the rows, which should not carry half of a column's variance


def normal_scores(
    values: Float[np.ndarray, "n d"], generator: np.random.RandomState | np.random.Generator
) -> Float[np.ndarray, "n d"]:
    r"""$\Phi^{-1}(\mathrm{rank} / (n + 1))$ of each column; of one value in an order of chance.

    A map that rises changes no mutual information, nor does noise that only tells equal ones apart.
    """
    found = np.empty_like(values)
    chance = generator.uniform(size=values.shape)
    for j, column in enumerate(values.T):
        order = np.lexsort((chance[:, j], rankdata(column, "min")))
        places = np.empty(len(column))
        places[order] = np.arange(1, len(column) + 1)
        found[:, j] = ndtri(places / (len(column) + 1))
    return found


def repeating(values: Float[np.ndarray, "n d"]) -> list[int]:
    """The columns of which more than a twentieth of the values are not new."""
    return [j for j, column in enumerate(values.T) if len(np.unique(column)) < 0.95 * len(column)]


def carried_by_few(values: Float[np.ndarray, "n d"]) -> dict[int, Int[np.ndarray, " rows"]]:
    """The columns of which under a hundredth of the rows carry half of the variance: those rows.

    A column of two values is none of them: of a rare kind there is nothing else to go by.
    """
    found = {}
    for j, column in enumerate(values.T):
        away = np.abs(column - np.median(column))
        reach = away.max()
        if not reach > 0 or len(np.unique(column)) <= 2:
            continue
        order = np.argsort(-away)
        squares = np.cumsum(np.square(away[order] / reach))
        few = 1 + int(np.searchsorted(squares, squares[-1] / 2))
        if few <= max(1, _FEW * len(column)):
            found[j] = order[:few]
    return found
