"""Infinitely deep Bayesian neural networks (arXiv 2102.06559): calibration, and a gradient.

Classifiers whose weights move at random in depth learn from few digits, beside point weights, an
ensemble of them, dropout and a mean field. Then two posteriors that are known exactly: one with two
modes, and a Gaussian one in which the gradient of the paper loses its variance.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.data import Labelled, digits
from pullback.recipes._kit.checks import check_least, check_rising
from pullback.recipes.sde_bnn import bimodal, classifiers, estimators
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config(classifiers.Config):
    toy_iterations: int = 600
    """Training steps of the posterior with two modes."""
    toy_steps: tuple[int, int] = (60, 240)
    """Euler steps with which the posterior with two modes is trained, and those with which it is
    scored."""
    toy_draws: int = 4096
    """Paths on which the posterior with two modes is scored."""
    estimator_steps: tuple[int, ...] = (50, 150, 400)
    """Euler steps at which the three gradients are compared, rising."""
    estimator_draws: int = 1000
    """Draws of each of the three gradients that are compared."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, estimator_draws=2)
        for name in ("toy_steps", "estimator_steps"):
            check_rising(self, name, count=2, least=1)


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on the 8 x 8 digits that come with scikit-learn, and on two posteriors."""

    def images(seed: int) -> classifiers.Images:
        train, rest = digits(test_fraction=1 - config.examples / 1797, seed=seed)
        count = config.held_out
        held = Labelled(rest.x[:count], rest.y[:count])
        return train, held, Labelled(rest.x[count:], rest.y[count:])

    claims = classifiers.run(config, context, images, gains=(1.4, 1.5))
    processes = bimodal.processes(context, config.seeds, config.toy_steps[0], config.toy_iterations)
    exact = bimodal.truth()
    modes = context.stage("bimodal", bimodal.measure, processes, exact["evidence"],
                          config.toy_steps, config.toy_draws, context.seed)  # fmt: skip
    noise = context.stage("estimators", estimators.measure, config.estimator_steps,
                          config.estimator_draws, config.seeds, context.seed)  # fmt: skip
    bimodal.draw(context, exact, modes["histogram"], config.toy_steps[-1])
    estimators.draw(context, noise, config.estimator_steps)
    likelihood, calibration, error, mean_field, dropout, _, _, when_not = claims
    landing, two_modes = _claims_about_posteriors(config, exact, modes, noise)
    return [likelihood, calibration, landing, error, mean_field, dropout, two_modes, when_not]


def _claims_about_posteriors(
    config: Config, exact: dict[str, Any], modes: dict[str, np.ndarray], noise: np.ndarray
) -> list[Claim]:
    last = config.estimator_steps[-1]
    analytic, _monte_carlo, sticking = np.moveaxis(noise, 1, 0)
    early = modes["noise"][:, 0] / modes["noise"][:, 1]
    return [
        Claim.over_seeds(
            "At the true posterior the gradient's noise vanishes: analytic over sticking the "
            f"landing, {last} steps, the smaller ratio of two parameters",
            (analytic[:, -1] / sticking[:, -1]).min(axis=-1),
            at_least=max(1, 50 * last / 400),
            reference=f"1: no better; it falls with the step, by {last} steps. Where the posterior "
            f"is near, and has two modes: {1 / early.mean():.2f}",
            headline=Headline(no_effect=1),
        ),
        Claim.over_seeds(
            "An SDE posterior comes close to one with two modes: gap to the exact log evidence",
            modes["gap"],
            at_most=0.2,
            unit="nats",
            reference=f"the best Gaussian: {exact['gaussian_gap']:.3f}; the least from its start, "
            f"which is the prior's: {exact['least_gap']:.3f}",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1,
        sigmas=(0.3,),
        stds=(0.3,),
        rates=(0.2,),
        examples=1650,
        held_out=40,
        members=2,
        iterations=4,
        batch_size=8,
        dim=4,
        width=4,
        solver_steps=2,
        paths=2,
        toy_iterations=4,
        toy_steps=(2, 4),
        toy_draws=64,
        estimator_steps=(2, 4),
        estimator_draws=50,
    ),
    "desk": Config(),
}
