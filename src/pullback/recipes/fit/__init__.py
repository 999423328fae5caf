"""Feature importance in time (arXiv 2003.02821): which measurement moved a prediction, and when.

Series whose hidden state jumps, and with it the feature that decides the label. Which cell changed
the prediction is asked of the exact filter, with exact draws of what else could have been seen, and
of a network and a generator that were trained on series alone. What a prediction uses at every step
is another question, and is asked too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes.fit import measure, show
from pullback.recipes.fit.measure import BOOTSTRAP, FIT, NO_SHIFT, OFFICIAL, UNIFORM
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Random seeds, each with series of its own."""
    series: int = 200
    """Series that are explained."""
    train: int = 800
    """Series that the network and its generator learn from; occlusion draws from them."""
    points: int = 100
    """Steps of each."""
    spiked: int = 100
    """Series with spikes that are explained too."""
    samples: int = 10
    """Draws for each cell, of every method."""
    hidden: int = 64
    """Units of the recurrent network that predicts the label."""
    steps: int = 600
    """Its training steps."""
    batch_size: int = 50
    """Series in a training step."""
    learning_rate: float = 5e-3
    """Of the network, at the start of a cosine to 0."""
    generator_hidden: int = 32
    """Units of the generator."""
    components: int = 2
    """Gaussians in its mixture."""
    generator_steps: int = 600
    """Its training steps."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, points=3)


def run(config: Config, context: Context) -> list[Claim]:
    """Explain series of each seed by every method, and score the cells by both truths."""
    seeds = enumerate(context.seeds(config.seeds))
    rows = [context.stage(f"seed-{k}", measure.found, config, seed) for k, seed in seeds]
    show.draw_series(context, rows[0]["shown"])
    show.draw_areas(context, rows)
    show.tell_areas(context, rows)
    return _claims(rows)


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[Claim]:
    def area(name: str, way: str, truth: int) -> np.ndarray:
        return np.array([row["areas"][name][way][truth, 0] for row in rows])

    def occlusion(name: str, truth: int) -> np.ndarray:
        return np.maximum(area(name, UNIFORM, truth), area(name, BOOTSTRAP, truth))

    base = np.array([row["base"] for row in rows])
    fit, learned = area("exact", FIT, 0), area("learned", FIT, 0)
    late, missed = (area(measure.LATE_SPIKES, way, 0) for way in (measure.WINDOW, FIT))
    return [
        Claim.over_seeds(
            "What moved the prediction: area under precision and recall at the switches, FIT's "
            "over that of the better occlusion, exact predictor and generator",
            fit / occlusion("exact", 0),
            at_least=4.0,
            reference=f"1: as good; the areas {fit.mean():.3f} and "
            f"{occlusion('exact', 0).mean():.3f}, by chance {base[:, 0].mean():.3f}",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            "The same of a recurrent network, with a generator learned from the series alone",
            learned / occlusion("learned", 0),
            at_least=3.0,
            reference=f"1: as good; the areas {learned.mean():.3f} and "
            f"{occlusion('learned', 0).mean():.3f}; the paper's method run again by Leung et al. "
            "(WinIT): 0.230 and 0.027",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            "The temporal shift is what finds the step: without it FIT is below chance (area at "
            "the switches over the share of such cells)",
            area("exact", NO_SHIFT, 0) / base[:, 0],
            at_most=1.0,
            reference=f"1: chance; with it {(fit / base[:, 0]).mean():.1f}",
        ),
        Claim.over_seeds(
            "The mean of the predictions against the marginal finds more than the mean of the "
            "divergences against the step before (ratio of the areas at the switches)",
            fit / area("exact", OFFICIAL, 0),
            at_least=1.2,
            reference=f"1: as good; the authors' code has the latter, "
            f"{area('exact', OFFICIAL, 0).mean():.3f}",
        ),
        Claim.over_seeds(
            "When not to: which cells a prediction uses at every step is told better by occlusion "
            "(area under precision and recall at all steps, that of uniform occlusion less FIT's)",
            area("exact", UNIFORM, 1) - area("exact", FIT, 1),
            at_least=0.1,
            reference=f"0: as good; {area('exact', UNIFORM, 1).mean():.3f} and "
            f"{area('exact', FIT, 1).mean():.3f}, by chance {base[:, 1].mean():.3f}",
        ),
        Claim.over_seeds(
            "When not to, either: a label that turns 2 steps after a spike is led back to it by "
            "windowed importance, and not by FIT (area under precision and recall, that of windows "
            "less FIT's)",
            late - missed,
            at_least=0.9,
            reference=f"0: as good; {late.mean():.3f} and {missed.mean():.3f}; FIT where the label "
            f"turns at once {area(measure.SPIKES, FIT, 0).mean():.3f}; Leung et al. (WinIT) ran "
            "both with that delay, of learned models: 0.996 and 0.002",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, series=4, train=8, points=12, spiked=8, samples=2, hidden=4, steps=2, batch_size=4,
        generator_hidden=4, components=1, generator_steps=2,
    ),
    "desk": Config(),
    "paper": Config(seeds=5, hidden=200, steps=4000, generator_steps=4000),
}  # fmt: skip
