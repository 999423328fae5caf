"""A Gaussian copula of columns of numbers and of kinds: what a generator starts from."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular
from scipy.special import ndtri
from sklearn.covariance import ledoit_wolf

from ._quantiles import Quantiles, fit_quantiles

_FAR = 8.0  # beyond which a score is that of no row


class Copula(NamedTuple):
    r"""Columns whose normal scores are jointly normal.

    $$ h = R z, \quad z \sim N(0, I), \qquad x_j = F_j^{-1}(\Phi(h_j)) $$

    Columns of numbers come first. A kind is a piece of the line of its column's score, as wide as
    its share.

    Attributes:
        numbers: the map of the columns of numbers.
        order: of each column of kinds the codes in the order of their pieces.
        edges: where the pieces end, in scores, from -inf to inf.
        root: R, lower triangular, of rows of length 1.
    """

    numbers: Quantiles
    order: list[np.ndarray]
    edges: list[Float[np.ndarray, " e"]]
    root: Float[np.ndarray, "l l"]

    @property
    def whole(self) -> int:
        """How many columns are of numbers."""
        return len(self.numbers.levels)

    @property
    def counts(self) -> list[int]:
        """How many kinds each of the others has."""
        return [len(order) for order in self.order]

    def sample(self, count: int, generator: np.random.RandomState) -> Float[np.ndarray, "n d"]:
        """Rows, with codes for kinds."""
        h = generator.normal(size=(count, len(self.root))) @ self.root.T
        kinds = [
            order[np.searchsorted(edges[1:-1], column)]
            for order, edges, column in zip(self.order, self.edges, h.T[self.whole :], strict=True)
        ]
        return self.join(self.numbers.from_scores(h[:, : self.whole]), kinds)

    def join(
        self, numbers: Float[np.ndarray, "n w"], kinds: Sequence[np.ndarray]
    ) -> Float[np.ndarray, "n d"]:
        """Numbers and codes side by side."""
        return np.concatenate([numbers, *(kind[:, None].astype(float) for kind in kinds)], axis=1)

    def features(
        self,
        x: Float[np.ndarray, "n d"],
        generator: np.random.RandomState | None = None,
        *,
        far: bool = False,
    ) -> Float[np.ndarray, "n f"]:
        """Normal scores and then a column for each kind, 1 in that of the row's and else 0.

        Args:
            x: rows without holes; a code that is none has 0 in all.
            generator: as for `Quantiles.to_scores`.
            far: by `Quantiles.how_far`.
        """
        kinds = [
            column[:, None] == np.arange(count)
            for column, count in zip(x.T[self.whole :], self.counts, strict=True)
        ]
        numbers = x[:, : self.whole]
        scores = (
            self.numbers.how_far(numbers) if far else self.numbers.to_scores(numbers, generator)
        )
        return np.concatenate([scores, *kinds], axis=1)

    def whiten(self, scores: Float[np.ndarray, "n w"]) -> Float[np.ndarray, "n w"]:
        """Scores of the columns of numbers as independent ones, to the bit whatever is beside."""
        columns = []
        for j, row in enumerate(self.root[: self.whole, : self.whole]):
            rest = scores[:, j] - sum(
                (w * t for w, t in zip(row[:j], columns, strict=True)), np.zeros(len(scores))
            )
            columns.append(rest / row[j])
        return np.stack(columns, axis=1) if columns else scores

    def colour(self, white: Float[np.ndarray, "n w"]) -> Float[np.ndarray, "n w"]:
        """The way back."""
        return white @ self.root[: self.whole, : self.whole].T


def fit_copula(
    x: Float[np.ndarray, "n d"], counts: Sequence[int], generator: np.random.RandomState
) -> Copula:
    """The copula of rows without holes.

    Args:
        x: columns of numbers that vary, and then codes.
        counts: of each column of codes how many kinds there are.
        generator: of the places of values that repeat in their shares.
    """
    whole = x.shape[1] - len(counts)
    numbers = fit_quantiles(x[:, :whole])
    scores = numbers.to_scores(x[:, :whole], generator)
    order, edges, columns = [], [], [scores]
    for codes, count in zip(x.T[whole:].astype(int), counts, strict=True):
        places, ends, score = _pieces(codes, count, scores, generator)
        order.append(places)
        edges.append(ends)
        columns.append(score[:, None])
    return Copula(numbers, order, edges, _root(np.concatenate(columns, axis=1)))


def _pieces(
    codes: np.ndarray, count: int, scores: np.ndarray, generator: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order of kinds along what most columns share, their pieces' ends, and a score a row."""
    shares = np.bincount(codes, minlength=count) / len(codes)
    along = codes.astype(float)
    if scores.shape[1]:
        _, vectors = np.linalg.eigh(np.atleast_2d(np.cov(scores.T)))
        along = scores @ vectors[:, -1]
    sums = np.bincount(codes, weights=along, minlength=count)
    order = np.argsort(sums / np.maximum(shares * len(codes), 1))
    ends = np.concatenate([[0.0], np.cumsum(shares[order])])
    rank = np.argsort(order)[codes]
    low, high = ends[rank], ends[rank + 1]
    place = low + (high - low) * generator.uniform(size=len(codes))
    edges = ndtri(np.clip(ends, 0, 1))
    edges[0], edges[-1] = -np.inf, np.inf
    return order, edges, np.clip(ndtri(place), -_FAR, _FAR)


def _root(scores: Float[np.ndarray, "n l"]) -> Float[np.ndarray, "l l"]:
    covariance, _ = ledoit_wolf(scores, assume_centered=True)
    covariance = np.atleast_2d(covariance)
    deviation = np.sqrt(np.diagonal(covariance))
    correlation = covariance / np.outer(deviation, deviation)
    # Columns that follow from others leave a pivot without spread.
    root = np.linalg.cholesky(correlation + 1e-6 * np.eye(len(correlation)))
    return root / np.linalg.norm(root, axis=1, keepdims=True)


def kinds_from_scores(root: Float[np.ndarray, "l l"], whole: int) -> Float[np.ndarray, "c l"]:
    r"""The matrix from white numbers and scores of kinds to the latents of kinds.

    $$ z_c = R_{cc}^{-1} (h_c - R_{cw} z_w) $$
    """
    inverse: Any = solve_triangular(root[whole:, whole:], np.eye(len(root) - whole), lower=True)
    return np.concatenate([-inverse @ root[whole:, :whole], inverse], axis=1)
