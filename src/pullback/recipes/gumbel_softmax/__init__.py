"""Gumbel-softmax (arXiv 1611.01144): gradients through categories that are softened.

An autoencoder with categorical latents and a belief network, on handwritten digits, trained by
Gumbel-softmax and by five other estimators; what a sum over the classes would cost; and how biased
and how noisy the gradients are, by the temperature.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.recipes._kit.checks import check_least, check_rising
from pullback.recipes.gumbel_softmax import autoencoders, measure, show
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config(autoencoders.Config):
    temperatures: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    """Temperatures at which bias and variance are measured, rising; 0.2 and 1 are among them."""
    draws: int = 40_000
    """Gradients that each bias and variance is measured on."""
    problems: int = 5
    """Quadratic functions and starting points that are measured."""
    classes: tuple[int, ...] = (10, 100)
    """Numbers of classes of the semi-supervised step whose cost is measured, rising."""
    cost_width: int = 256
    """Hidden units of the networks of the step whose cost is measured."""
    repeats: int = 20
    """Times that each such step is taken; the shortest counts."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, draws=2)
        check_rising(self, "temperatures", count=3, above=0)
        if not {0.2, 1.0} <= set(self.temperatures):
            raise ValueError(f"temperatures must have 0.2 and 1 in them, got {self.temperatures}")
        check_rising(self, "classes", least=2)


def run(config: Config, context: Context) -> list[Claim]:
    """Measure the gradients, train the autoencoders, count what the sum costs."""
    problems = context.seeds(config.problems)
    curves = context.stage(
        "curves", measure.bias_and_variance, config.temperatures, config.draws, problems
    )
    show.draw_curves(context, config.temperatures, curves)
    on_digits = autoencoders.on_images(config, context, None)
    costs = context.stage(
        "cost", measure.cost, 64, config.classes, config.cost_width, config.repeats
    )
    ratios = [both["sum"] / both["sample"] for both in costs]
    context.table(
        "cost",
        ["classes", "sum over classes, ms", "one relaxed sample, ms", "ratio"],
        [
            [count, both["sum"], both["sample"], ratio]
            for count, both, ratio in zip(config.classes, costs, ratios, strict=True)
        ],
        "Time of a gradient of a semi-supervised autoencoder for 50 images without labels, the "
        "shortest of several. The paper reports ratios of 2 and 9.9 for 10 and 100 classes.",
    )
    return [
        *on_digits[:2],
        Claim(
            f"With {config.classes[-1]} classes a step without labels is faster with one relaxed "
            "sample than with the sum over them (ratio of times)",
            value=ratios[-1],
            at_least=3.0,
            reference="paper: 9.9, on a GPU, with 100 classes",
            headline=Headline(no_effect=1.0, paper=9.9),
        ),
        *_claims_of_curves(config, curves),
        *on_digits[2:],
    ]


def _claims_of_curves(config: Config, curves: Mapping[str, Any]) -> list[Claim]:
    taus = config.temperatures
    one, low = taus.index(1.0), taus.index(0.2)
    gumbel = curves["gumbel"]
    return [
        Claim.over_seeds(
            "At temperature 1 the gradient is wrong by a large share of its size",
            gumbel["bias"][:, one] / curves["size"],
            at_least=0.4,
            reference="exact by enumeration: 0; four classes, a quadratic",
        ),
        Claim.over_seeds(
            f"When not to: the variance grows, from 0.2 to {taus[0]:g} like the inverse "
            "temperature to the power",
            np.log(gumbel["variance"][:, 0] / gumbel["variance"][:, low])
            / np.log(taus[low] / taus[0]),
            at_least=0.8,
            at_most=1.3,
            reference="1: a slope of 1/tau in a share tau of the draws",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, ways=("score", "gumbel"), latents=(3, 4), width=8, iterations=10,
        batch_size=8, images=40,
        temperatures=(0.05, 0.2, 1.0), draws=400, problems=1, classes=(3, 6), cost_width=8,
        repeats=1,
    ),
    "desk": Config(),
}  # fmt: skip
