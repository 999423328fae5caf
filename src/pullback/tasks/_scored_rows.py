"""Tasks that give each row of a table a score, higher for more usual rows."""

import abc
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from ._beside import or_none
from ._task import AbstractTask

_SHOWN = 1001  # quantiles of the scores that are kept


class AbstractScoredRows(OutlierMixin, AbstractTask):
    """A task by which rows have scores, and those of low scores are anomalies.

    Attributes:
        contamination: the share of rows fitted that are anomalies.
        offset_: the score below which a row is one.
        quantiles_: of the scores of the rows fitted.
    """

    # The column of the scores, and what they are in words.
    _column: ClassVar[str]
    _called: ClassVar[str]

    contamination: float
    offset_: float
    quantiles_: Float[np.ndarray, " shown"]

    @abc.abstractmethod
    def _scores(self, values: Float[np.ndarray, "rows d"]) -> Float[np.ndarray, " rows"]:
        """Of each row of the columns taken: higher is more usual, NaN where it has a hole."""

    @abc.abstractmethod
    def score_samples(self, X: Any) -> Float[np.ndarray, " rows"]:
        """The score of each row as a user gives it, once this is fitted."""

    def score(self, X: Any, y: Any = None) -> float:
        """The mean score of the rows without holes: higher is more usual."""
        found = self.score_samples(X)
        whole = found[~np.isnan(found)]
        if not len(whole):
            raise ValueError(
                f"none of the {len(found)} rows is whole, so none has a {self._called}; fill their "
                "holes, or leave out columns by `columns` when fitting."
            )
        return float(np.mean(whole))

    def decision_function(self, X: Any) -> Float[np.ndarray, " rows"]:
        """How far a row's score is above that of an anomaly; negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Int[np.ndarray, " rows"]:
        """-1 for an anomaly, 1 for any other row, and 1 for one with a hole: it may be either."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def share_below(self, score: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        """The share of rows fitted that have a lower score: near 0, look at that row."""
        check_is_fitted(self)
        shares = np.interp(score, self.quantiles_, np.linspace(0, 1, _SHOWN), left=0, right=1)
        return np.where(np.isnan(score), np.nan, shares)

    def _keep_scores(self, scores: Float[np.ndarray, " rows"]) -> None:
        """Of the rows fitted: which is an anomaly's, and how the others lie."""
        self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        self.quantiles_ = np.quantile(scores, np.linspace(0, 1, _SHOWN))

    def _scored(self, values: Float[np.ndarray, "rows d"]) -> dict[str, list[Any]]:
        """What is written of each row."""
        score = self._scores(values)
        whole = ~np.isnan(score)
        return {
            self._column: or_none(score, whole),
            "share_below": or_none(self.share_below(score), whole),
            "predicted": or_none(np.where(score < self.offset_, -1, 1), whole),
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
