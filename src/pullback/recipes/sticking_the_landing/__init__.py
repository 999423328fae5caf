"""Sticking the landing (arXiv 1703.09194): gradients whose noise vanishes at the optimum.

Descents to targets within reach of q; where the estimator is the worse one; and why it does not
belong on an importance-weighted bound. With `--data`, autoencoders of MNIST or Omniglot.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes.sticking_the_landing import measure, show
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many targets each descent has, each with its own start and draws."""
    dim: int = 100
    """Size of the normals."""
    steps: int = 8000
    """Steps of each descent, one sample each."""
    full_rate: float = 3e-3
    """Learning rate of SGD with a full covariance."""
    mixture_rate: float = 2e-2
    """Learning rate of SGD for the mixture."""
    adam_rate: float = 1e-2
    """Learning rate of Adam, with a full covariance."""
    samples: tuple[int, ...] = (1, 5, 50)
    """Importance samples of the weighted bounds, rising from 1."""
    draws: int = 40_000
    """Gradients drawn for each measured mean and variance."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, steps=80, draws=2)
        check_rising(self, "samples", count=2, least=1)


def run(config: Config, context: Context) -> list[Claim]:
    """Follow the gradients, measure their noise, and the bias on weighted bounds."""
    every = config.steps // 80
    sizes = config.dim, every * 80, every, context.seeds(config.seeds)
    descents = measure.descents(config.full_rate, config.mixture_rate, config.adam_rate)
    runs = {
        name: context.stage(f"descents-{name}", measure.descend, descent, *sizes)
        for name, descent in descents.items()
    }
    curve = context.stage("variances", measure.variance_curve, config.draws, context.seed)
    weighted = context.stage(
        "weighted", measure.weighted, config.samples, config.draws, context.seed
    )
    show.draw_descents(context, runs)
    show.draw_variances(context, curve)
    show.draw_weighted(context, config.samples, weighted)
    _table(config, context, runs)
    return [*_claims_of_descents(runs), *_claims_of_noise(config, weighted)]


def _table(config: Config, context: Context, runs: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    steps = runs["full"]["steps"]
    shown = [len(steps) // 4 * i - 1 for i in range(1, 5)]
    context.table(
        "descents",
        ["KL(q || target), nats, after", *(f"{steps[i]} steps" for i in shown)],
        [
            [f"{name}, {text}", *(float(run[way][:, i].mean()) for i in shown)]
            for name, run in runs.items()
            for way, text in show.NAMES.items()
        ],
        "Means over the seeds.",
    )
    for name, run in runs.items():
        for number in range(config.seeds):
            ends = {way: float(run[way][number, -1]) for way in show.NAMES}
            context.metrics({"descent": name, "number": number, **ends})


def _claims_of_descents(runs: Mapping[str, Mapping[str, np.ndarray]]) -> list[Claim]:
    settled = lambda name, way: np.maximum(runs[name][way][:, -20:].mean(axis=1), show.FLOOR)
    # In orders of magnitude: a mean of ratios would be that of the luckiest seed.
    nearer = lambda name: np.log10(settled(name, "total") / settled(name, "path"))
    headline = Headline(no_effect=0.0)
    return [
        Claim.over_seeds(
            "SGD at a constant rate, full covariance: along the path q lands on its target (orders "
            "of magnitude of the divergence below the total derivative's)",
            nearer("full"),
            at_least=4,
            reference="0: no nearer; the paper: the variance falls to zero as q becomes exact",
            headline=headline,
        ),
        Claim.over_seeds(
            "So does a mixture, with its weights (orders of magnitude of the divergence)",
            nearer("mixture"),
            at_least=2,
            reference="0: no nearer",
            headline=headline,
        ),
        Claim.over_seeds(
            "SGD at a constant rate, full covariance: the total derivative hovers at a divergence "
            "of",
            settled("full", "total"),
            at_least=3,
            unit="nats",
            reference="0, where the path derivative ends",
        ),
        Claim.over_seeds(
            "When not to: with Adam at a constant rate the path derivative does not land "
            "(divergence at the end)",
            settled("adam", "path"),
            at_least=0.5,
            unit="nats",
            reference="with SGD it ends at 0",
        ),
    ]


def _claims_of_noise(
    config: Config, weighted: Mapping[str, Mapping[str, np.ndarray]]
) -> list[Claim]:
    total, path, doubly = (weighted[way] for way in ("total", "path", "doubly"))
    most = config.samples[-1]
    return [
        Claim(
            f"When not to: on a weighted bound, k = {most}, the path derivative has another mean "
            "(ratio to the total derivative's)",
            value=float(path["mean"][-1] / total["mean"][-1]),
            at_least=5,
            reference="1: a gradient without bias",
        ),
        Claim(
            "On a weighted bound the doubly reparameterised gradient has the larger signal to "
            f"noise (ratio to the total derivative's, k = {most})",
            value=float(doubly["snr"][-1] / total["snr"][-1]),
            at_least=1.5,
            reference="1: the total derivative",
        ),
    ]


PRESETS = {
    "smoke": Config(seeds=1, dim=5, steps=80, samples=(1, 5), draws=2000),
    "desk": Config(),
    "long": Config(seeds=10, steps=20_000),
    "paper": Config(steps=20_000),
}
