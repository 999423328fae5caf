"""Scalable gradients for SDEs (arXiv 2001.01328): the stochastic adjoint and the latent SDE.

Gradients through a solve whose closed form is known, and the memory that they need. Then five
noisy points under an Ornstein-Uhlenbeck prior, by which posterior and evidence are known exactly:
what a latent SDE finds of them.
"""

from dataclasses import dataclass
from typing import Any

import jax.random as jr
import numpy as np
import optax

from pullback import train
from pullback.models.timeseries import LatentSDELoss, TrainingSeries
from pullback.recipes._kit.checks import check_above_zero, check_rising
from pullback.recipes.latent_sde import gradients, points, show
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many sets of paths whose gradients are compared, and data sets of five points, each with
    a latent SDE of its own."""
    iterations: int = 1500
    """Training steps on the five points."""
    paths: int = 32
    """Paths in a training step on the five points."""
    bounds: int = 8
    """Importance-weighted bounds of 512 paths, over which a trained model's is averaged."""
    gradient_steps: tuple[int, ...] = (16, 64, 256)
    """Numbers of steps at which gradients are compared with their closed form, rising."""
    gradient_draws: int = 20
    """Over how many draws of the paths the errors of gradients are averaged."""
    memory_steps: tuple[int, ...] = (64, 256, 1024)
    """Numbers of steps at which the memory of a gradient is measured, rising."""

    def __post_init__(self):
        check_above_zero(self)
        for name in ("gradient_steps", "memory_steps"):
            check_rising(self, name, count=2, least=1)


def run(config: Config, context: Context) -> list[Claim]:
    """Measure gradients, train the models, and measure what is claimed of them."""
    seeds = context.seeds(config.seeds)
    errors = context.stage(
        "gradients", gradients.errors, seeds, config.gradient_steps, config.gradient_draws
    )
    memory = context.stage("memory", gradients.memory, config.memory_steps)
    found = [_one_seed(config, context, number, seed) for number, seed in enumerate(seeds)]
    show.draw_gradients(
        context, np.mean(errors, axis=0), config.gradient_steps, memory, config.memory_steps
    )
    show.draw_bands(context, found[0])
    return [*_claims_about_gradients(config, errors, memory), *_claims_about_points(found)]


def _one_seed(config: Config, context: Context, number: int, seed: int) -> dict[str, Any]:
    """A latent SDE trained on one draw of the five points, and what is measured of it."""
    drawn, keys = points.points(seed), jr.split(jr.key(seed), 5)
    model, info = train.fit(
        points.untrained(keys[0]),
        LatentSDELoss(samples=config.paths),
        TrainingSeries(drawn),
        optimiser=optax.adam(optax.cosine_decay_schedule(1e-2, config.iterations)),
        steps=config.iterations,
        batch_size=1,
        clip_norm=10.0,
        log_every=min(50, config.iterations),
        **context.training(f"points-{number}"),
        key=keys[2],
    )
    context.log(info.lines(), seed=number)
    return context.stage(f"measures-{number}", points.measure, model, drawn, config.bounds, keys[4])


def _claims_about_gradients(
    config: Config, errors: np.ndarray, memory: dict[str, list[float]]
) -> list[Claim]:
    first, last = config.gradient_steps[0], config.gradient_steps[-1]
    falls = np.mean(errors[:, 0] / errors[:, -1], axis=1)
    few, many = config.memory_steps[0], config.memory_steps[-1]
    growth = {name: row[-1] / row[0] for name, row in memory.items()}
    return [
        Claim.over_seeds(
            "Gradients by the stochastic adjoint converge to the exact ones: factor by which the "
            f"error falls from {first} to {last} steps, mean over {', '.join(gradients.WANTED)}",
            falls,
            at_least=0.4 * last / first,
            reference="Z(1) = Z(0) exp(a + b W(1)) on the same path; the paper, figure 5",
            headline=Headline(1.0),
        ),
        Claim(
            f"Memory of a gradient by the stochastic adjoint is flat from {few} to {many} steps: "
            "factor",
            value=growth[gradients.ADJOINT],
            at_most=1.1,
            reference="the paper, table 1: O(1), and O(L) for back-propagation, which through a "
            f"scan takes {growth[gradients.SCAN]:.1f} times as much here",
            headline=Headline(many / few, paper=1.0),
        ),
    ]


def _claims_about_points(found: list[dict[str, Any]]) -> list[Claim]:
    worst = lambda which: [
        np.abs(f["model"][which] - f["exact"][which])[points.ASKED].max() for f in found
    ]
    asked = ", ".join(f"{t:g}" for t in points.QUERY[points.ASKED])
    widest = found[0]["exact"][1][points.ASKED].max()
    return [
        Claim.over_seeds(
            f"The latent SDE's posterior mean is the exact one at t = {asked}: largest error",
            worst(0),
            at_most=0.02,
            reference="a Gaussian process's posterior, in closed form",
        ),
        Claim.over_seeds(
            "The latent SDE's posterior deviation is the exact one at those times: largest error",
            worst(1),
            at_most=0.03,
            reference=f"the same; it is {widest:.2f} where nothing was seen",
        ),
        Claim.over_seeds(
            f"The importance-weighted bound of {points.PATHS} paths and {points.FINE_STEPS} "
            "steps meets the log-evidence: distance",
            [abs(f["iwae"] - f["evidence"]) for f in found],
            at_most=0.15,
            unit="nats",
            reference="0, but for 0.04 that Euler's steps change the evidence by",
        ),
        Claim.over_seeds(
            f"When not to use it: as the evidence. With {points.STEPS} steps the ELBO is below the "
            "exact log-evidence, by not much: gap",
            [f["evidence"] - f["elbo"] for f in found],
            at_least=0.0,
            at_most=0.8,
            unit="nats",
            reference=f"log-evidence of the first five points: {found[0]['evidence']:.3f}; most of "
            "the gap is that of Euler's steps, with the exact control too",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1,
        iterations=4,
        paths=2,
        bounds=1,
        gradient_steps=(4, 16),
        gradient_draws=2,
        memory_steps=(4, 16),
    ),
    "desk": Config(),
}
