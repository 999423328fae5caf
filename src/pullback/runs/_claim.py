"""What an experiment claims."""

import dataclasses
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, SupportsFloat


@dataclass(frozen=True)
class Claim:
    """A sentence about a measured number, and whether the number supports it.

    The claim holds when `at_least <= value <= at_most`; a bound that is `None` is not asked for.
    Whether it holds is computed and cannot be given; a value that is not a number never holds.

    Args:
        sentence: What is claimed, in words that a stranger understands.
        value: The measured figure, in `unit`.
        at_most: The largest value that bears the claim out.
        at_least: The smallest value that bears the claim out.
        spread: Standard deviation of the figure over the seeds; `None` when it is deterministic.
        seeds: How many seeds were measured.
        unit: The unit of `value`, `spread` and the bounds; empty for a pure number.
        reference: The figure that the value is compared with, and where that figure comes from.

    Raises:
        ValueError: Neither bound is given, a bound is not a number, or the two cross.

    Example:
        >>> claim = Claim("The mass is one", value=2e-4, at_most=1e-3, reference="exact: 0")
        >>> claim.bound, claim.holds
        ('<= 0.001', True)
        >>> Claim("The loss is small", value=float("nan"), at_most=1.0, reference="").holds
        False
    """

    sentence: str
    _: dataclasses.KW_ONLY
    value: float | int
    at_most: float | int | None = None
    at_least: float | int | None = None
    spread: float | int | None = None
    seeds: int = 1
    unit: str = ""
    reference: str

    def __post_init__(self):
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if not bounds or any(math.isnan(bound) for bound in bounds) or bounds[0] > bounds[-1]:
            raise ValueError(
                f"claim {self.sentence!r} has at_least={self.at_least} and at_most={self.at_most}; "
                "give at least one bound, each a number, with at_least <= at_most"
            )

    @classmethod
    def over_seeds(
        cls,
        sentence: str,
        values: Iterable[SupportsFloat],
        *,
        at_most: float | int | None = None,
        at_least: float | int | None = None,
        unit: str = "",
        reference: str,
    ) -> "Claim":
        """A claim about the mean of `values`, one a seed, with their standard deviation as spread.

        >>> claim = Claim.over_seeds("Error", [3.6, 3.8, 3.7], at_most=4, unit="%", reference="3.7")
        >>> round(claim.value, 6), round(claim.spread, 6), claim.seeds
        (3.7, 0.1, 3)
        """
        found = [float(value) for value in values]
        return cls(
            sentence,
            value=statistics.fmean(found),
            at_most=at_most,
            at_least=at_least,
            spread=statistics.stdev(found) if len(found) > 1 else None,
            seeds=len(found),
            unit=unit,
            reference=reference,
        )

    @property
    def holds(self) -> bool:
        """Whether the value lies within the bounds."""
        above = self.at_least is None or self.value >= self.at_least
        below = self.at_most is None or self.value <= self.at_most
        return above and below  # a comparison with NaN is false, and there is a bound

    @property
    def bound(self) -> str:
        """The bounds as text."""
        if self.at_least is None:
            return f"<= {self.at_most:g}"
        if self.at_most is None:
            return f">= {self.at_least:g}"
        return f"{self.at_least:g} to {self.at_most:g}"

    def to_json(self) -> dict[str, Any]:
        """The claim as `claims.json` keeps it; JSON has no NaN, so what is not finite is text."""
        return {
            "sentence": self.sentence,
            "value": _finite(self.value),
            "spread": None if self.spread is None else _finite(self.spread),
            "seeds": self.seeds,
            "unit": self.unit,
            "bound": self.bound,
            "reference": self.reference,
            "holds": self.holds,
        }


def _finite(value: float | int) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))
