"""What an experiment claims."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat


@dataclass(frozen=True)
class Headline:
    """That a claim is what its paper is known for, and how near to the paper it was measured.

    Args:
        no_effect: The value at which there is nothing of the paper's effect, in the claim's unit.
        paper: The paper's own figure, in the claim's unit; `None` where it gives no such number.
        published: Whether data, sizes and protocol are the paper's; else it is measured in kind.

    Raises:
        ValueError: A figure is not finite, or the paper's own is that of no effect.
    """

    no_effect: float | int
    _: dataclasses.KW_ONLY
    paper: float | int | None = None
    published: bool = False

    def __post_init__(self):
        figures = [self.no_effect] if self.paper is None else [self.no_effect, self.paper]
        if not all(map(math.isfinite, figures)) or len(set(figures)) < len(figures):
            raise ValueError(
                f"a headline has no_effect={self.no_effect} and paper={self.paper}; give two "
                "finite figures that differ, or no `paper`"
            )

    def to_json(self) -> dict[str, Any]:
        """The headline as `claims.json` keeps it."""
        paper = None if self.paper is None else float(self.paper)
        return {
            "no_effect": float(self.no_effect), "paper": paper, "published": bool(self.published),
        }  # fmt: skip


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
        headline: Given where the claim is what the paper is known for; `verdict` follows from it.

    Raises:
        ValueError: Neither bound is given, a bound is not a number, the two cross, there are no
            seeds, the spread is negative, or a headline would hold where there is no effect, or
            has the paper's figure on the other side of it.

    Example:
        >>> claim = Claim("The mass is one", value=2e-4, at_most=1e-3, reference="exact: 0")
        >>> claim.bound, claim.holds
        ('<= 0.001', True)
        >>> Claim("The loss is small", value=float("nan"), at_most=1.0, reference="").holds
        False
        >>> gain = Headline(no_effect=0, paper=1.3)
        >>> Claim("RELAX gains", value=0.2, at_least=0.1, reference="", headline=gain).verdict
        'reproduced in kind'
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
    headline: Headline | None = None

    def __post_init__(self):
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if not bounds or any(math.isnan(bound) for bound in bounds) or bounds[0] > bounds[-1]:
            raise ValueError(
                f"claim {self.sentence!r} has at_least={self.at_least} and at_most={self.at_most}; "
                "give at least one bound, each a number, with at_least <= at_most"
            )
        if self.seeds < 1 or (self.spread is not None and self.spread < 0):
            raise ValueError(
                f"claim {self.sentence!r} has seeds={self.seeds} and spread={self.spread}; give "
                "one seed or more, and a standard deviation"
            )
        if self.headline is None:
            return
        paper = self.headline.paper
        if paper is not None and (paper > self.headline.no_effect) != self._upward(self.headline):
            raise ValueError(
                f"headline {self.sentence!r} has paper={paper} on the other side of "
                f"no_effect={self.headline.no_effect} than its bounds, at_least={self.at_least} "
                f"and at_most={self.at_most}; give the paper's figure in the unit of the claim"
            )
        if self._holds(self.headline.no_effect) and self.headline.no_effect not in bounds:
            raise ValueError(
                f"headline {self.sentence!r} would hold at no_effect={self.headline.no_effect}, "
                f"with at_least={self.at_least} and at_most={self.at_most}; give bounds that the "
                "absence of the effect misses"
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
        headline: Headline | None = None,
    ) -> "Claim":
        """A claim about the mean of `values`, one a seed, with their standard deviation as spread.

        >>> claim = Claim.over_seeds("Error", [3.6, 3.8, 3.7], at_most=4, unit="%", reference="3.7")
        >>> round(claim.value, 6), round(claim.spread, 6), claim.seeds
        (3.7, 0.1, 3)
        """
        found = [float(value) for value in values]
        if not found:
            raise ValueError(f"claim {sentence!r} has no values; give one a seed")
        # By hand, for `statistics` raises where one of them is no number.
        mean = sum(found) / len(found)
        squares = sum((value - mean) ** 2 for value in found)
        return cls(
            sentence,
            value=mean,
            at_most=at_most,
            at_least=at_least,
            spread=math.sqrt(squares / (len(found) - 1)) if len(found) > 1 else None,
            seeds=len(found),
            unit=unit,
            reference=reference,
            headline=headline,
        )

    @property
    def holds(self) -> bool:
        """Whether the value lies within the bounds."""
        return self._holds(self.value)

    def _holds(self, value: float | int) -> bool:
        above = self.at_least is None or value >= self.at_least
        below = self.at_most is None or value <= self.at_most
        return above and below  # a comparison with NaN is false, and there is a bound

    @property
    def verdict(self) -> str | None:
        """What a headline says of its paper: `None` for a claim that is no headline.

        `reproduced` or, where data or sizes are not the paper's, `reproduced in kind`, when the
        claim holds and the 95 % interval of the mean over seeds, by Student's t, lies on the
        paper's side of no effect. `contradicted` when the interval lies on the other side, which
        one run cannot show; `not reproduced` else.
        """
        if self.headline is None:
            return None
        effect = self.value - self.headline.no_effect
        effect = effect if self._upward(self.headline) else -effect
        error = self._half_interval()
        if self.holds and effect > (error or 0):
            return "reproduced" if self.headline.published else "reproduced in kind"
        return "contradicted" if error is not None and effect < -error else "not reproduced"

    def _upward(self, headline: Headline) -> bool:
        """Whether the paper's effect is above that of none."""
        return self.at_least is not None and headline.no_effect <= self.at_least

    def _half_interval(self) -> float | None:
        """Half of the 95 % interval of the mean over seeds, or None where there is no spread."""
        if self.spread is None or self.seeds < 2:
            return None
        from scipy.special import stdtrit  # loads NumPy

        return float(stdtrit(self.seeds - 1, 0.975)) * self.spread / self.seeds**0.5

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
            "at_least": _kept(self.at_least),
            "at_most": _kept(self.at_most),
            "headline": None if self.headline is None else self.headline.to_json(),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Claim":
        """The claim that `to_json` kept."""
        headline = None if kept["headline"] is None else Headline(**kept["headline"])
        spread = kept["spread"]
        return cls(
            kept["sentence"],
            value=float(kept["value"]),
            at_most=None if kept["at_most"] is None else float(kept["at_most"]),
            at_least=None if kept["at_least"] is None else float(kept["at_least"]),
            spread=None if spread is None else float(spread),
            seeds=kept["seeds"],
            unit=kept["unit"],
            reference=kept["reference"],
            headline=headline,
        )


def _kept(bound: float | int | None) -> float | str | None:
    return None if bound is None else _finite(bound)


def _finite(value: float | int) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))
