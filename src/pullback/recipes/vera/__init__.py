"""VERA (arXiv 2010.04230): energies trained without Markov chains, by a generator with entropy.

Digits of which few have labels, beside chains and beside the labels alone; eight Gaussians with
the entropy and without; how far the entropy's gradient is off, and what mends it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback import data
from pullback.recipes.vera import measure, show
from pullback.recipes.vera.models import (
    BATCH,
    METHODS,
    RING_ENTROPY,
    RINGS,
    Config,
    LabelConfig,
    digit_task,
    ring,
    train_classifiers,
    train_ring,
)
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train on digits; train on the ring, and measure the entropy's gradient."""
    claims = few_labels(config, context, data.digits(), "digits")
    seeds = context.seeds(config.seeds)
    models = {
        name: context.stage(f"ring-{place}", train_ring, config, context, name, seeds)
        for place, name in enumerate(RINGS)
    }
    found = {
        name: context.stage(f"judge-{place}", measure.on_ring, models[name], seeds[0])
        for place, name in enumerate(RINGS)
    }
    generators = models["with entropy"][1]
    biases = {
        "linear generator": context.stage("linear", measure.linear_gradients, config, seeds),
        "trained generator": context.stage(
            "trained", measure.ring_gradients, config, generators, seeds[0]
        ),
    }
    show.draw_ring(context, ring(10_000, seeds[0]), found)
    context.table(
        "bias",
        ["generator", "proposal", *(f"{size} latents" for size in config.sizes),
         "effective, of most", "error of score"],
        [
            [title, name, *(f"{100 * b:+.0f} %" for b in row["bias"][:, place].mean(axis=0)),
             float(row["ess"][:, place, -1].mean()), float(row["error"][:, place, -1].mean())]
            for title, row in biases.items()
            for place, name in enumerate(measure.PROPOSALS)
        ],
        "How far the gradient of the entropy to the scale of the output is off, relative to the "
        f"exact one; means over {config.seeds} seeds, {config.draws} samples each. Widths around "
        "z0 are the posterior's own standard deviations.",
    )  # fmt: skip
    return [*claims, *_claims_of_ring(found), *_claims_of_bias(config, biases)]


def few_labels(
    config: LabelConfig, context: Context, split: data.Split, source: str
) -> list[Claim]:
    """Few labels, with the other images and without."""
    seeds = context.seeds(config.seeds)
    pairs = [digit_task(config, split, seed) for seed in seeds]
    found = {
        name: context.stage(
            f"labels-{place}", train_classifiers, config, name, [task for task, _ in pairs], seeds,
            context.progress,
        )
        for place, name in enumerate(METHODS)
    }  # fmt: skip
    scores = {
        name: [measure.score(p, y) for p, (_, y) in zip(row["probs"], pairs, strict=True)]
        for name, row in found.items()
    }
    show.draw_digits(context, scores, found["JEM by VERA"]["made"][0], config.labels_per_class)
    context.table(
        "labels",
        [source, "accuracy", "NLL (nats)", "Brier score", "calibration error",
         "milliseconds a step", "rollbacks"],
        [
            [name, *(float(np.mean([row[key] for row in rows])) for key in rows[0]),
             1e3 * found[name]["seconds"], int(np.sum(found[name]["rollbacks"]))]
            for name, rows in scores.items()
        ],
        f"{config.labels_per_class} labels of each class, means over {config.seeds} seeds, each "
        "with labels of its own. Times are of this run, on whatever else the machine was doing: "
        f"a step by chains takes 20 gradients of the energy at {BATCH} points, one by "
        f"VERA {config.samples} passes through the generator and its tangent.",
    )  # fmt: skip
    return _claims_of_labels(config, scores, source)


def _claims_of_labels(
    config: LabelConfig, scores: Mapping[str, list[dict[str, float]]], source: str
) -> list[Claim]:
    values = {
        key: {name: np.array([row[key] for row in rows]) for name, rows in scores.items()}
        for key in ("accuracy", "ece")
    }
    apart = lambda key, other: values[key]["JEM by VERA"] - values[key][other]
    mean = lambda key, name: f"{values[key][name].mean():.3f}"
    start = f"{source} with {config.labels_per_class} labels of each class"
    return [
        Claim.over_seeds(
            f"{start}: a JEM that VERA trains, without a Markov chain, classifies as well as one "
            "by chains (accuracy, VERA less chains)",
            apart("accuracy", "JEM by chains"),
            at_least=-0.04,
            at_most=0.04,
            reference=f"by chains: {mean('accuracy', 'JEM by chains')}; the paper, too, finds the "
            "two level, on CIFAR-10",
        ),
        Claim.over_seeds(
            f"{start}: the one that VERA trains is better calibrated than the one by chains "
            "(calibration error, difference)",
            apart("ece", "JEM by chains"),
            at_most=-0.02,
            reference=f"by chains, which are cooled: {mean('ece', 'JEM by chains')}",
        ),
        Claim.over_seeds(
            f"{start}: a JEM that VERA trains classifies no worse than the labels alone (accuracy, "
            "difference)",
            apart("accuracy", "labels alone"),
            at_least=-0.03,
            reference=f"the labels alone: {mean('accuracy', 'labels alone')}; the paper "
            "reports gains on tables of numbers",
        ),
    ]


def _claims_of_ring(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[Claim]:
    ours, none = found["with entropy"], found["no entropy"]
    return [
        Claim.over_seeds(
            "Eight Gaussians: with the entropy the energy's loss on held-out points is",
            ours["loss"],
            at_most=2.8,
            unit="nats",
            reference=f"the distribution's own: {RING_ENTROPY:.3f}; of the eight the generator "
            f"finds {ours['modes'].mean():.3g}",
        ),
        Claim.over_seeds(
            "Eight Gaussians: without the entropy the energy's loss on held-out points is higher "
            "by",
            none["loss"] - ours["loss"],
            at_least=0.5,
            unit="nats",
            reference=f"of its density {none['near'].mean():.1%} are near a Gaussian, with the "
            f"entropy {ours['near'].mean():.1%}, of the distribution's own 98.9 %",
        ),
    ]


def _claims_of_bias(config: Config, biases: Mapping[str, Any]) -> list[Claim]:
    published, kept = (
        [*measure.PROPOSALS].index(name) for name in ("around z0", "tangent, with z0")
    )
    size = len(config.sizes) // 2
    linear, trained = (100 * row["bias"][:, :, size] for row in biases.values())
    start = f"By {config.sizes[size]} latents"
    return [
        Claim.over_seeds(
            f"{start}, when not to: as published, even with the posterior's own widths, the "
            "entropy's gradient of a linear generator is off by",
            linear[:, published],
            at_most=-10,
            unit="%",
            reference=f"closed form; by the tangent, with z0: {linear[:, kept].mean():.1f} %",
        ),
        Claim.over_seeds(
            f"{start} of a trained generator the gradient by the tangent, with z0, is too small at "
            "worst: it is off by",
            trained[:, kept],
            at_least=-40,
            at_most=0,
            unit="%",
            reference="a sum over a grid of latents; around z0, twice as wide as published: "
            f"{trained[:, [*measure.PROPOSALS].index('around z0, twice as wide')].mean():.0f} %",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, steps=20, width=8, batch_size=20, samples=2, draws=40, sizes=(3,),
        labels_per_class=2, digit_steps=10, digit_width=8, digit_latent=2, images=200,
    ),
    "desk": Config(),
    "paper": Config(
        seeds=5, steps=100_000, width=100, batch_size=200, samples=20, draws=20_000,
        sizes=(5, 20, 100), digit_steps=100_000, digit_width=500, digit_latent=32, images=60_000,
    ),
}  # fmt: skip
