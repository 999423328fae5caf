"""Hyperparameters by hypernetworks (arXiv 1802.09419): a network that answers them with weights.

A linear model of handwritten digits has a decay for every class, or for every one of its 650
weights. Here what training comes to in the end is a linear system, so every answer of a network has
a true value beside it; and so have grids, chance and Bayesian optimisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pullback.data import digits
from pullback.recipes._kit.checks import check_above_zero
from pullback.recipes.hypernet_hpo import measure, show
from pullback.recipes.hypernet_hpo.claims import Found, losses, weight_claims
from pullback.recipes.hypernet_hpo.models import Problem, problem_of
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config:
    seeds: int = 4
    """Splits of the digits into training, validation and test images."""
    train_rows: int = 100
    """Images to train on."""
    validation_rows: int = 499
    """Images to tune on; another 1,198 are the test set."""
    width: int = 50
    """Hidden units of the response to a decay of every class."""
    fit_steps: int = 8000
    """Training steps of that response."""
    draws: int = 16
    """Hyperparameters drawn a step, of every response."""
    runs: int = 25
    """Trainings whose losses the Gaussian process is fitted to."""
    held_out: int = 1000
    """Values of the hyperparameters at which the held-out loss is predicted."""
    through_steps: int = 500
    """Steps of tuning through a response."""
    scale: float = 0.3
    """Noise in the log-decays of every weight, while they are tuned."""
    no_scale: float = 1e-5
    """As good as none: the paper's."""
    problems: int = 20
    """Small regressions whose one decay is tuned with noise and without."""
    drift_steps: int = 2000
    """Steps of that decay."""
    rank: int = 10
    """Of the factored response to a decay of every weight."""
    warmup: int = 1000
    """Training steps of those responses before the decays are moved."""
    steps: int = 5000
    """Steps of the decays of every weight."""
    trial_steps: int = 2000
    """Training steps of a trial of the random search."""

    def __post_init__(self):
        check_above_zero(self)

    @property
    def trials(self) -> int:
        """Trainings that cost as many gradients as the run that tunes every decay."""
        return max(1, (self.warmup + self.steps) * self.draws // self.trial_steps)


def run(config: Config, context: Context) -> list[Claim]:
    """Fit, tune, and compare on every split."""
    found = []
    for index, seed in enumerate(context.seeds(config.seeds)):
        problem = _split(config, seed)
        found.append(
            {
                name: context.stage(f"{name}-{index}", measured, problem, config, seed)
                for name, measured in (
                    ("classes", measure.surrogates),
                    ("weights", measure.decay_of_every_weight),
                    ("rivals", measure.rivals),
                )
            }
        )
    drift = context.stage("drift", measure.drift, config, context.seeds(config.problems))
    show.draw_losses(context, found)
    show.draw_predictions(context, found)
    show.draw_decays(context, found[0]["weights"]["diagonal"]["hyper"])
    show.tables(context, found)
    [tuned, tested], factored = weight_claims(found)
    searched, optimised, *others = _claims(config, found)
    return [tuned, searched, optimised, tested, *others, *factored, _without_noise(drift)]


def _split(config: Config, seed: int) -> Problem:
    return problem_of(
        digits(test_fraction=2 / 3, seed=seed), config.train_rows, config.validation_rows
    )


def _claims(config: Config, found: Found) -> list[Claim]:
    def missed(way: str) -> np.ndarray:
        parts = [each["classes"] for each in found]
        return np.array([np.mean(np.abs(part[way] - part["true"])) for part in parts])

    tuned = losses(found, "weights", "diagonal")
    return [
        Claim.over_seeds(
            "Random search over the same decays at equal cost ends above that run",
            losses(found, "rivals", "random search") - tuned,
            at_least=0.02,
            reference=f"0: that run; {config.trials} trials cost as many gradients",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "Bayesian optimisation of a decay for each class, with as many trainings, ends above "
            "that run",
            losses(found, "rivals", "Bayesian optimisation") - tuned,
            at_least=0.01,
            reference="0: that run; a Gaussian process, expected improvement",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "One response to a decay for each class predicts held-out losses with a small share of "
            f"the error of a Gaussian process on {config.runs} trainings",
            missed("response") / missed("process"),
            at_most=0.5,
            reference="1: the Gaussian process; the paper shows both as scatter plots",
        ),
        Claim.over_seeds(
            "Decays of the classes tuned through it are as good as the optimum (difference in "
            "loss)",
            losses(found, "classes", "tuned") - losses(found, "classes", "optimum"),
            at_most=0.002,
            reference="0: tuned through the exact best response",
        ),
    ]


def _without_noise(found: Mapping[str, np.ndarray]) -> Claim:
    ratios = found["without"]
    return Claim(
        f"When not to: without noise to learn the slope from, one decay of {len(ratios)} small "
        "regressions runs away in some (loss over that of the optimum, the worst)",
        value=float(np.max(ratios)),
        at_least=3,
        reference=f"{np.max(found['with noise']):.2f}: the worst with noise; the paper's noise is "
        "1e-5, its code's 0",
    )


PRESETS = {
    "smoke": Config(
        seeds=1, train_rows=20, validation_rows=40, width=4, fit_steps=20, draws=2, runs=5,
        held_out=20, through_steps=20, rank=2, warmup=10, steps=20, trial_steps=30,
        problems=2, drift_steps=20,
    ),
    "desk": Config(),
}  # fmt: skip
