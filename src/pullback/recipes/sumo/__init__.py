"""SUMO (arXiv 2004.00353): the log-evidence without bias, for what would exploit a bound.

Bias and spread where the evidence is known; and the reverse divergence to a funnel, which goes
astray with any bound.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes.sumo import funnel, measure, show
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many models are fitted to the funnel with each estimate."""
    draws: int = 100_000
    """Draws of each estimate where the evidence is known."""
    delta: float = 0.5
    """How far the posterior's mean is off where the evidence is known, in each of five
    dimensions."""
    steps: int = 2000
    """Training steps of a model of the funnel, a multiple of 40; it is looked at four times."""
    count: int = 64
    """Samples of the funnel's model in a training step."""
    width: int = 64
    """Size of the hidden layers."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""

    def __post_init__(self):
        check_above_zero(self, but=("delta",))
        check_least(self, draws=200, steps=40)
        if self.steps % 40:
            raise ValueError(f"steps must be a multiple of 40, got {self.steps}")


def run(config: Config, context: Context) -> list[Claim]:
    """Measure bias and spread, and fit the funnel."""
    seeds = context.seeds(config.seeds)
    found = context.stage(
        "optimum", measure.at_the_optimum, config.draws, config.delta, context.seed
    )
    follow = functools.partial(
        funnel.follow, steps=config.steps, count=config.count, width=config.width,
        learning_rate=config.learning_rate, progress=context.progress,
    )  # fmt: skip
    runs = {
        way.name: [
            context.stage(f"funnel-{way.kind}{way.size}-{i}", follow, way, seed)
            for i, seed in enumerate(seeds)
        ]
        for way in funnel.WAYS
    }
    show.draw_funnel(context, runs)
    show.draw_optimum(context, found)
    columns = {
        "cost": "expected samples",
        "bias": "bias",
        "bias_error": "its standard error",
        "std": "standard deviation",
        "median_of_means": "bias, median of means",
        "worst": "worst draw",
        "slope": "mean gradient",
        "slope_error": "its standard error",
    }
    context.table(
        "optimum",
        ["estimate of log p(x)", *columns.values()],
        [[name, *(row[column] for column in columns)] for name, row in found.items()],
        f"{config.draws:,} draws of each, posterior off by {config.delta:g}; the exact gradient "
        "is zero. The standard deviation of SUMO's draws grows with their number.",
    )
    return _claims(found, runs)


def _claims(
    found: Mapping[str, Mapping[str, Any]], runs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Claim]:
    # A mean over the last looks: any single one fluctuates.
    late = {
        (name, kind): np.mean([run[kind][-3:] for run in several], axis=1)
        for name, several in runs.items()
        for kind in ("objective", "exact")
    }
    seeds = len(next(iter(late.values())))
    bound = late["IWAE, k = 21", "exact"]
    multilevel = late["multilevel, base = 4", "exact"]
    return [
        Claim(
            "A model fitted by SUMO, at 9 samples, stays close to the funnel (exact reverse "
            "divergence, worst seed)",
            value=float(late["SUMO, m = 4", "exact"].max()),
            at_most=0.6,
            unit="nats",
            seeds=seeds,
            reference="0: the funnel itself",
        ),
        Claim(
            "By the multilevel form, at 21 samples, it is closer (exact divergence, worst seed)",
            value=float(multilevel.max()),
            at_most=0.3,
            unit="nats",
            seeds=seeds,
            reference="0: the funnel itself",
        ),
        Claim(
            "By a bound of as many samples the exact divergence is larger (ratio of medians)",
            value=float(np.median(bound) / np.median(multilevel)),
            at_least=3,
            seeds=seeds,
            reference="the multilevel form, trained alike",
        ),
        Claim(
            "At a parameter where the exact gradient is zero, that of the bound of six samples is "
            "not",
            value=found["IWAE, k = 6"]["slope"],
            at_least=0.15,
            at_most=0.17,
            reference="exact: 0",
        ),
        Claim(
            "When not to use a bound: the reverse divergence by one of 5 samples is followed below "
            "zero, which no divergence can be (highest seed)",
            value=float(late["IWAE, k = 5", "objective"].max()),
            at_most=-1,
            unit="nats",
            seeds=seeds,
            reference="0: no divergence is below it",
        ),
        Claim(
            "While a bound of 5 samples is followed below zero, the exact divergence is large "
            "(lowest seed)",
            value=float(late["IWAE, k = 5", "exact"].min()),
            at_least=1,
            unit="nats",
            seeds=seeds,
            reference="0: the funnel itself",
        ),
        Claim(
            "When not to use SUMO: its worst draw, over that of the multilevel form of base 8",
            value=abs(found["SUMO, m = 1"]["worst"] / found["multilevel, base = 8"]["worst"]),
            at_least=5,
            reference="the multilevel form, whose variance does not grow with its longest bound",
        ),
    ]


PRESETS = {
    "smoke": Config(seeds=1, draws=400, steps=40, count=2, width=8),
    "desk": Config(),
    "paper": Config(steps=4000, draws=1_000_000),
}
