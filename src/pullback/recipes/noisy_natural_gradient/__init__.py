"""Noisy natural gradient (arXiv 1712.02390): weights with their uncertainty, by an optimiser.

A small network on 150 patients, whose exact posterior Hamiltonian Monte Carlo can sample: where do
noisy K-FAC and the factorised posteriors say that predictions are unsure? And a linear regression,
whose posterior is known in closed form, and rows that are asked for where most is to be learned.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.recipes.noisy_natural_gradient import car, measure, show
from pullback.recipes.noisy_natural_gradient.measure import BACKPROP, NUTS_NAME
from pullback.recipes.noisy_natural_gradient.models import Config
from pullback.runs import Claim, Context, Headline

Runs = Sequence[Mapping[str, Any]]
KFAC, ADAM = "noisy K-FAC", "noisy Adam"


def run(config: Config, context: Context) -> list[Claim]:
    """Fit and sample, and compare."""
    seeds = context.seeds(config.seeds)
    over = lambda name, function: context.stage(
        name, lambda: [function(config, seed) for seed in seeds]
    )
    found, gaps = over("posteriors", measure.compared), over("line", measure.line_gap)
    asked = over("active", measure.active)
    even = over("even", functools.partial(measure.active, crowded=False))
    explored = over("car", car.explored)
    show.draw(context, found[0])
    show.table(context, found)
    return [*_claims_of_posteriors(found), *_claims_of_use(config, gaps, asked, even, explored)]


def _claims_of_posteriors(found: Runs) -> list[Claim]:
    of = lambda method, name: np.asarray([row[method][name] for row in found])
    factorised = np.maximum(of(BACKPROP, "correlation"), of(ADAM, "correlation"))
    widest = np.max([of(name, "variance") for name in (KFAC, ADAM, BACKPROP)], axis=0)
    nuts = of(NUTS_NAME, "log_likelihood")
    return [
        Claim.over_seeds(
            "The variance of predictions goes with that of HMC much more under noisy K-FAC than "
            "under the better factorised posterior (difference of correlations)",
            of(KFAC, "correlation") - factorised,
            at_least=0.2,
            reference="0: noisy Adam or Bayes by Backprop; paper: variances closer to HMC's",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "It predicts rows held out at least as well as noisy Adam (difference of mean "
            "log-likelihoods)",
            of(KFAC, "log_likelihood") - of(ADAM, "log_likelihood"),
            at_least=0,
            unit="nats",
            reference="0: noisy Adam",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            "It predicts nearly as well as HMC (difference of mean log-likelihoods)",
            of(KFAC, "log_likelihood") - nuts,
            at_least=-0.03,
            unit="nats",
            reference="0: NUTS",
        ),
        Claim.over_seeds(
            "When not to: all three understate the variance of predictions (the widest, beside "
            "HMC's)",
            widest / of(NUTS_NAME, "variance"),
            at_most=0.9,
            reference="1: NUTS; where the variance must be right and the network is small, use it",
        ),
    ]


def _claims_of_use(
    config: Config, gaps: Sequence[float], asked: Runs, even: Runs, explored: Runs
) -> list[Claim]:
    found = lambda name: float(np.mean([row[f"{name}_highest"] >= car.GOAL for row in explored]))
    ratio = lambda runs: [row["asked"] / row["random"] for row in runs]
    return [
        Claim.over_seeds(
            "The full matrix, averaged over all measurements, finds the posterior covariance of a "
            "linear regression (relative error)",
            gaps,
            at_most=0.03,
            reference="0: in closed form",
        ),
        Claim.over_seeds(
            f"Where nine of ten rows of the pool lie in one corner, {config.asked} rows asked for "
            "where they tell most teach more than as many at random (ratio of test errors)",
            ratio(asked),
            at_most=1.0,
            reference="1: the mean over sets of rows drawn at random",
        ),
        Claim.over_seeds(
            "When not to: where the rows of the pool lie evenly, asking for rows helps little or "
            "not at all (the same ratio)",
            ratio(even),
            at_least=0.9,
            reference="1: the mean over sets of rows drawn at random",
        ),
        Claim.over_seeds(
            "A mountain car that goes where its dynamics are least known visits more of the plane "
            "of place and speed than one that acts at random, at full force (ratio of cells)",
            [row["curious_cells"] / row["random_cells"] for row in explored],
            at_least=1.2,
            reference="1: random actions at full force, as many; the top, of which none is told, "
            f"is reached by {found('curious'):.2f} of the runs and {found('random'):.2f} of these",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, train=40, width=3, steps=20, batch_size=10, warmup=4, samples=4, line_steps=20,
        first=4, asked=1, repeats=1, pool=20, active_steps=5,
        episodes=2, held=3,
    ),
    "desk": Config(seeds=5),
}  # fmt: skip
