"""What a predictor says of sequences, and where it leaves what it has seen."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from pullback._extras import extra

_USUAL = 0.99  # of sequences, whose members differ no more


class Range(NamedTuple):
    """What a predictor knows.

    Attributes:
        low: the least score that it was fitted to.
        high: the greatest.
        sd: how far members of the ensemble differ, at most, on 99 % of sequences of the same kind
            that they have not seen.
    """

    low: float
    high: float
    sd: float

    @classmethod
    def of(cls, y: Float[np.ndarray, " n"], sd: Float[np.ndarray, " m"]) -> "Range":
        """That of scores that were fitted, and of members on others."""
        return cls(float(y.min()), float(y.max()), float(np.quantile(sd, _USUAL)))

    def outside(
        self, mean: Float[np.ndarray, " n"], sd: Float[np.ndarray, " n"]
    ) -> tuple[str, ...]:
        """Of each prediction "", or in which ways it is outside."""
        ways = {"above": mean > self.high, "below": mean < self.low, "unsure": sd > self.sd}
        return tuple(
            ", ".join(way for way, there in ways.items() if there[place])
            for place in range(len(mean))
        )


class SequenceScores(NamedTuple):
    """What the ensemble predicts of sequences.

    Attributes:
        names: of the sequences.
        letters: the sequences.
        mean: of the members, in the unit of the scores.
        sd: of the members: how far they differ.
        outside: where the predictor leaves what it has seen: "above" or "below" all scores of the
            fit, "unsure" where its members differ as on one in a hundred sequences that it has not
            seen; "" inside.
        column: what the sequences are called in the table.
    """

    names: tuple[str, ...]
    letters: tuple[str, ...]
    mean: Float[np.ndarray, " n"]
    sd: Float[np.ndarray, " n"]
    outside: tuple[str, ...]
    column: str = "sequence"

    def columns(self) -> dict[str, Sequence[Any]]:
        """The table, by its columns."""
        return {
            "name": self.names,
            self.column: self.letters,
            "mean": self.mean.tolist(),
            "sd": self.sd.tolist(),
            "outside": self.outside,
        }

    def to_frame(self) -> Any:
        """The table as a data frame of pandas, which must be installed."""
        return extra("pandas", "dna").DataFrame(self.columns())
