"""JEM (arXiv 1912.03263): a classifier's logits are a density too, if they are trained as one.

Images of digits: accuracy, samples, inputs of another kind, attacks. Then few labelled points of
two moons that overlap: what the density does for calibration, and how its training explodes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.data import Split, digits
from pullback.recipes.jem import measure, show
from pullback.recipes.jem.models import (
    LONG_RATE,
    Config,
    ImageConfig,
    hasty,
    image_kinds,
    images,
    moon_kinds,
    moons,
    train_kinds,
)
from pullback.runs import Claim, Context

Found = Mapping[str, Mapping[str, Any]]


def run(config: Config, context: Context) -> list[Claim]:
    """The 8 x 8 digits that come with scikit-learn, then two moons."""
    return [*on_images(config, context, digits(), "digits"), *_on_moons(config, context)]


def on_images(config: ImageConfig, context: Context, split: Split, what: str) -> list[Claim]:
    """Train classifiers of images with a density and without, and measure what is claimed."""
    seeds = context.seeds(config.seeds)
    problem = images(config, split, seeds)
    trained = train_kinds(context, config, "images", image_kinds(config), problem, seeds)
    found = {
        name: context.stage(
            f"images-{name}", measure.on_images, problem, row["models"], context.seed
        )
        for name, row in trained.items()
    }  # fmt: skip
    models = trained["JEM"]["models"]
    refined = context.stage(
        "refined", measure.attack_refined, problem, models, config.attacked, context.seed
    )
    drawn = context.stage("samples", measure.draw, problem, models, context.seed)
    show.draw_samples(context, drawn["samples"], problem.classes)
    radii = [f"accuracy, attack of radius {radius:g}" for radius in measure.RADII]
    context.table(
        "images",
        ["trained by", "accuracy", "ECE", *radii,
         *(f"AUROC, {name}" for name in measure.ood_sets(problem, 0)), "rollbacks"],
        [
            [name, *(float(row[key].mean()) for key in ("accuracy", "ece")),
             *map(float, row["attacked"].mean(axis=0)), *map(float, row["auroc"].mean(axis=0)),
             int(np.sum(trained[name]["rollbacks"]))]
            for name, row in found.items()
        ],
        f"{what}, means over {len(seeds)} seeds. AUROC is that of the log-density, test images "
        "against others: 0.5 is chance, below it the others look more like data. Of the network "
        "trained by cross-entropy the log-density is the energy score that is taken after the "
        "fact.",
    )  # fmt: skip
    return _claims_of_images(config, what, found, refined, drawn["agree"])


def _on_moons(config: Config, context: Context) -> list[Claim]:
    seeds = context.seeds(config.seeds)
    problem = moons(config, seeds)
    calm = moon_kinds(config)
    kinds = {**calm, "JEM, in a hurry": hasty(config)}
    trained = train_kinds(context, config, "moons", kinds, problem, seeds)
    found = {
        name: context.stage(
            f"moons-{place}", measure.on_moons, problem, row["models"]
        )
        for place, (name, row) in enumerate(trained.items())
    }  # fmt: skip
    show.draw_planes(context, problem, found)
    show.draw_reliability(
        context,
        f"moons, {config.labels} labels",
        problem.test.y,
        {name: found[name] for name in calm},
    )
    context.table(
        "moons",
        ["trained by", "accuracy", "ECE", "NLL of labels (nats)", "NLL of points, median",
         "NLL of points, worst seed", "largest gap (nats)"],
        [
            [name, *(float(row[key].mean()) for key in ("accuracy", "ece", "nll")),
             float(np.median(row["density_nll"])), float(row["density_nll"].max()),
             float(np.nanmax(np.abs(trained[name]["gap"])))]
            for name, row in found.items()
        ],
        f"Moons, means over {len(seeds)} seeds but for the NLL of points, which is the normalised "
        "-log p(x) of test points in nats, and the gap between the log-density of the data and "
        "that of the chains' ends, which hovers about 0 while all is well.",
    )  # fmt: skip
    return _claims_of_moons(config, found)


def _claims_of_images(
    config: ImageConfig, what: str, found: Found, refined: Mapping[str, Any], agree: float
) -> list[Claim]:
    plain, ours = found["cross-entropy"], found["JEM"]
    start = f"{what} with {config.image_labels} labels"
    contrast = lambda row: row["auroc"][:, 0]
    attacked = lambda row: 100 * row["attacked"][:, measure.RADII.index(1.0)]
    return [
        Claim.over_seeds(
            f"{start}: a JEM is as good a classifier (points of accuracy over cross-entropy alone)",
            100 * (ours["accuracy"] - plain["accuracy"]),
            at_least=-3.0,
            unit="points",
            reference=f"cross-entropy alone: {plain['accuracy'].mean():.1%}; the paper's JEM: "
            "92.9 % on CIFAR-10, by a WideResNet 28-10",
        ),
        Claim(
            f"{start}: samples of a class look like it (share whose nearest image of the data has "
            "that class)",
            value=agree,
            at_least=0.8,
            reference="chance: 0.1",
        ),
        Claim.over_seeds(
            f"{start}: a JEM's density takes test images for more likely than the same at 1.5 "
            "times the contrast (AUROC)",
            contrast(ours),
            at_least=0.7,
            reference=f"cross-entropy alone: {np.mean(contrast(plain)):.2f}, the wrong way round; "
            "chance: 0.5",
        ),
        Claim.over_seeds(
            f"{start}: attacks of radius 1 leave a JEM with more (points of accuracy over "
            "cross-entropy alone)",
            attacked(ours) - attacked(plain),
            at_least=2.0,
            unit="points",
            reference=f"cross-entropy alone keeps {np.mean(attacked(plain)):.1f} %",
        ),
        Claim.over_seeds(
            "When not to: logits after ten steps of the sampler are little safer than as they are "
            f"(points of accuracy under an attack of radius {measure.REFINED_RADIUS:g} through "
            f"those steps, on {config.attacked} images)",
            100 * (refined["seen"] - refined["plain"]),
            at_most=5.0,
            unit="points",
            reference="by an attack that is blind to the sampler, as in the paper's code: "
            f"{100 * np.mean(refined['blind'] - refined['plain']):.1f} points",
        ),
    ]


def _claims_of_moons(config: Config, found: Found) -> list[Claim]:
    ece = {name: row["ece"] for name, row in found.items()}
    nll = {name: row["density_nll"] for name, row in found.items()}
    long = ece["cross-entropy, higher rate"]
    return [
        Claim.over_seeds(
            f"Moons with {config.labels} labels: a JEM is better calibrated (its calibration "
            f"error, over that of cross-entropy alone at a rate of {LONG_RATE:g}, which "
            "fits the labels closely in as many steps)",
            ece["JEM"] / long,
            at_most=0.75,
            reference="cross-entropy alone at the JEM's own rate, as if stopped early, has part "
            f"of it too: {np.mean(ece['cross-entropy'] / long):.2f}",
        ),
        Claim.over_seeds(
            "A JEM is a density of the moons (negative log-likelihood of a test point, normalised "
            "by brute force)",
            nll["JEM"],
            at_most=2.2,
            unit="nats",
            reference=f"the logits of cross-entropy alone: {nll['cross-entropy'].min():.3g} or "
            "more",
        ),
        Claim(
            "When not to trust it: at too high a rate and without a guard, energies explode while "
            "all numbers are finite (largest negative log-likelihood of a test point)",
            value=float(nll["JEM, in a hurry"].max()),
            at_least=100.0,
            unit="nats",
            seeds=config.seeds,
            reference="a guard sends such a run back; the paper's code asks for a restart by hand",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, buffer=100, labels=40, width=16, steps=10, image_width=16, image_steps=10,
        image_labels=60, image_tested=40, attacked=4,
    ),
    "desk": Config(),
}  # fmt: skip
