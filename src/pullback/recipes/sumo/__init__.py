"""SUMO (arXiv 2004.00353): the log-evidence without bias, for what would exploit a bound.

Bias and spread where the evidence is known; and the reverse divergence to a funnel, which goes
astray with any bound. In modules of their own: autoencoders of images, and a policy that is kept
random.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes.sumo import funnel, measure, show
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many models are fitted to the funnel with each estimate."""
    draws: int = 40_000
    """Draws of each estimate where the evidence is known."""
    delta: float = 0.5
    """How far the posterior's mean is off where the evidence is known, in each of five
    dimensions."""
    steps: int = 1200
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
    exact = {name: late[name, "exact"] for name in runs}
    few, sumo, many, multilevel = exact
    # In orders of magnitude: a mean of differences would be that of the worst seed.
    nearer = lambda bound, series: np.log10(exact[bound] / exact[series])
    return [
        Claim.over_seeds(
            "A model fitted to a funnel by its reverse divergence, where a bound would be "
            "exploited, ends nearer with SUMO than with a bound of as many samples, 9 (orders of "
            "magnitude of the exact divergence)",
            nearer(few, sumo),
            at_least=0.5,
            reference="0: the bound, trained alike",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "With SUMO it is close to the funnel (exact reverse divergence)",
            exact[sumo],
            at_most=0.4,
            unit="nats",
            reference="0: the funnel itself",
        ),
        Claim.over_seeds(
            "By the multilevel form, at 20 samples, it is closer than by a bound of 21 (orders "
            "of magnitude of the exact divergence)",
            nearer(many, multilevel),
            at_least=0.5,
            reference="0: the bound, trained alike",
        ),
        Claim.over_seeds(
            "When not to use a bound: the reverse divergence by one of 9 samples is followed below "
            "zero, which no divergence can be",
            late[few, "objective"],
            at_most=-1,
            unit="nats",
            reference="0: no divergence is below it",
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
    "long": Config(seeds=5, steps=4000, draws=100_000),
    "paper": Config(steps=4000, draws=1_000_000),
}
