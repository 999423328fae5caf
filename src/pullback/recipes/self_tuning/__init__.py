"""Self-tuning networks (arXiv 1903.03088): dropout rates tuned within one training.

A network on few handwritten digits that finds the dropout rate of each layer while it trains, from
bad starts; beside constants, a search of equal cost, and a plain network trained on the schedule
that was found. And a whole number, the side of the square cut out of each image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.data import Split, digits
from pullback.recipes.self_tuning import models, show
from pullback.recipes.self_tuning.models import Config
from pullback.runs import Claim, Context, Headline

Runs = Sequence[Mapping[str, Any]]


def run(config: Config, context: Context) -> list[Claim]:
    """Tune on the 8 x 8 digits that come with scikit-learn."""
    return on_images(config, context, digits(seed=context.seed))


def on_images(config: Config, context: Context, data: Split) -> list[Claim]:
    """Every kind of run, and what they say of each other."""
    seeds = context.seeds(config.seeds)
    stage = lambda name, function, *given: context.stage(
        name, function, config, context, data, seeds, *given
    )
    tuned = {
        rate: stage(f"from-{rate:g}", models.tuned, rate, False)
        for rate in (config.start, config.other)
    }
    constants = {
        rate: stage(
            f"constant-{rate:g}", models.held, f"constant-{rate:g}",
            [models.constant(rate)] * len(seeds),
        )
        for rate in config.constants
    }  # fmt: skip
    replayed = stage(
        "replay", models.held, "replay", [row["schedule"] for row in tuned[config.start]]
    )
    middle = config.constants[len(config.constants) // 3]
    whole = stage("whole", models.tuned, middle, True)
    kept = [models.constant(middle, config.cutout)] * len(seeds)
    not_tuned = stage("whole-held", models.held, "whole-held", kept)
    searched = stage("search", models.searched)

    best = min(constants.values(), key=lambda rows: np.mean(_held_out(rows)))
    show.draw_schedules(context, tuned, whole)
    show.draw_losses(context, config, tuned[config.start], constants)
    rows = {
        **{f"tuned, from {rate:g}": rows for rate, rows in tuned.items()},
        **{f"constant, {rate:g}": rows for rate, rows in constants.items()},
        "plain, on the schedule found": replayed,
        f"search, the best of {config.trials}": searched,
        f"tuned with cutout, from {config.cutout} pixels": whole,
        f"constant, cutout of {config.cutout} pixels": not_tuned,
    }
    _table(context, rows)
    return [
        *_claims_beside_constants(config, tuned, constants, best),
        *_claims_of_schedules(config, tuned[config.start], replayed, whole, not_tuned, searched),
    ]


def _held_out(rows: Runs) -> np.ndarray:
    return np.asarray([row["held_out"] for row in rows])


def _tested(rows: Runs) -> np.ndarray:
    return np.asarray([row["test"] for row in rows])


def _claims_beside_constants(
    config: Config, tuned: Mapping[float, Runs], constants: Mapping[float, Runs], best: Runs
) -> list[Claim]:
    ratio = lambda rows, other: _held_out(rows) / _held_out(other)
    count = len(config.constants)
    return [
        Claim.over_seeds(
            f"Rates tuned in one run, from {config.start:g}, beat the best of {count} constants "
            "(ratio of held-out losses)",
            ratio(tuned[config.start], best),
            at_most=1.0,
            reference="1: the constant that is best on average over the seeds",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            "They are far below the rate that they started from, held constant",
            ratio(tuned[config.start], constants[config.start]),
            at_most=0.7,
            reference="1: the start, held constant",
        ),
        Claim.over_seeds(
            f"From {config.other:g} they come near the best constant too",
            ratio(tuned[config.other], best),
            at_most=1.25,
            reference="1: the best constant",
        ),
        Claim.over_seeds(
            "What was tuned on held-out images holds on others (ratio of test losses to the best "
            "constant's)",
            _tested(tuned[config.start]) / _tested(best),
            at_most=1.15,
            reference="1: the best constant",
        ),
        Claim.over_seeds(
            f"When not to: where one rate for all layers will do, {count} trainings find one "
            "nearly as good (ratio of held-out losses to the tuned run's)",
            ratio(best, tuned[config.start]),
            at_most=1.25,
            reference="1: the run that tunes three rates",
        ),
    ]


def _claims_of_schedules(
    config: Config, tuned: Runs, replayed: Runs, whole: Runs, not_tuned: Runs, searched: Runs
) -> list[Claim]:
    ratio = lambda rows, other: _held_out(rows) / _held_out(other)
    return [
        Claim.over_seeds(
            "A plain network trained on the schedule is as good as the run that found it",
            ratio(replayed, tuned),
            at_most=1.1,
            reference="1: the run that found it; paper: 82.87 beside 82.58 in perplexity",
        ),
        Claim.over_seeds(
            f"A whole number is tuned: with cutout from {config.cutout} pixels, the loss is far "
            "below that of the start held constant",
            ratio(whole, not_tuned),
            at_most=0.6,
            reference="1: the start, held constant",
        ),
        Claim.over_seeds(
            f"It is as good as the best of a Sobol search that costs as much, {config.trials} "
            "trainings",
            ratio(tuned, searched),
            at_most=1.1,
            reference="1: the search, whose trainings are judged by their last weights",
        ),
    ]


def _table(context: Context, runs: Mapping[str, Runs]) -> None:
    names = ("held_out", "test", "test_accuracy")
    means = lambda rows: [float(np.mean([row[name] for row in rows])) for name in names]
    context.table(
        "runs",
        ["run", "held-out loss", "test loss", "test accuracy"],
        [[name, *means(rows)] for name, rows in runs.items()],
        "Means over seeds, at the evaluation with the lowest held-out loss of each run; of the "
        "search, at the end of its best training.",
    )


PRESETS = {
    "smoke": Config(
        seeds=1, train=20, held_out=20, width=4, steps=8, batch_size=10,
        constants=(0.01, 0.2), start=0.2, trials=2, evaluations=2,
    ),
    "desk": Config(),
}  # fmt: skip
