"""JEM (arXiv 1912.03263): a classifier's logits are a density too, if they are trained as one.

Images of digits, or with `--data` of MNIST and CIFAR-10 by a convolutional network: accuracy,
attacks, inputs of another kind, calibration and samples, beside cross-entropy alone at the rate
that is best for it. Then few labelled points of two moons that overlap: what the density does for
calibration, how its training explodes, and what a guard saves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.data import Labelled, Split, digits
from pullback.models.energy import JEM
from pullback.recipes.jem import measure, show
from pullback.recipes.jem.models import (
    GUARD,
    LONG_RATE,
    Config,
    ImageConfig,
    Problem,
    hasty_kinds,
    images,
    moon_kinds,
    moons,
    train_kinds,
    train_on_images,
)
from pullback.runs import Claim, Context, Headline

Found = Mapping[str, Mapping[str, Any]]

_SCORES = {"log_density": "log p(x)", "max_prob": "max p(y|x)"}


def run(config: Config, context: Context) -> list[Claim]:
    """The 8 x 8 digits that come with scikit-learn, then two moons."""
    train, test = digits()
    flat = Split(*(Labelled(part.x.reshape(len(part.x), -1), part.y) for part in (train, test)))
    problem, models, claims = on_images(config, context, flat, "digits")
    refined = context.stage(
        "refined", measure.attack_refined, problem, models, config.refined, context.seed
    )
    return [*claims, _claim_of_refined(config, refined), *_on_moons(config, context)]


def on_images(
    config: ImageConfig, context: Context, split: Split, what: str, *, calibrated: bool = False
) -> tuple[Problem, JEM, list[Claim]]:
    """Train classifiers of images with a density and without, and measure what is claimed.

    Where cross-entropy alone is far too sure of itself, `calibrated` claims that a JEM is less so.
    """
    seeds = context.seeds(config.seeds)
    problem = images(config, split, seeds)
    trained = train_on_images(context, config, problem, seeds)
    found = {
        name: context.stage(
            f"images-{name}", measure.on_images, problem, row["models"], config, context.seed
        )
        for name, row in trained.items()
    }  # fmt: skip
    models, judges = trained["JEM"]["models"], trained["cross-entropy"]["models"]
    drawn = context.stage("samples", measure.draw, problem, models, judges, context.seed)
    show.draw_samples(context, drawn["samples"], problem.classes)
    show.draw_reliability(context, "images", what, problem.test.y, found)
    _tables(config, context, what, trained, found, [*measure.ood_sets(problem, 0)])
    claims = _claims_of_images(config, what, found, drawn["agree"], calibrated)
    return problem, models, claims


def _tables(
    config: ImageConfig, context: Context, what: str, trained: Found, found: Found,
    sets: Sequence[str],
) -> None:  # fmt: skip
    plain, jem = trained["cross-entropy"], trained["JEM"]
    rates = ", ".join(f"{rate:g}" for rate in plain["rates"])
    context.table(
        "images",
        ["trained by", "accuracy", "ECE", "ECE at the held-out temperature", "NLL (nats)",
         *(f"accuracy, attack of radius {radius:g}" for radius in config.radii)],
        [
            [name,
             *(float(np.mean(row[key])) for key in ("accuracy", "ece", "ece_tempered", "nll")),
             *map(float, row["attacked"].mean(axis=0))]
            for name, row in found.items()
        ],
        f"{what}, {config.image_labels} images, means over {config.seeds} seeds. Cross-entropy "
        f"alone takes the rate that is best on {config.image_held} images held out: {rates}. The "
        f"JEM takes {config.learning_rate:g}; its runs went back {sum(jem['rollbacks'])} times in "
        "all.",
    )  # fmt: skip
    context.table(
        "unseen",
        ["trained by", "score", *sets],
        [
            [name, words, *map(float, row[f"auroc_{score}"].mean(axis=0))]
            for name, row in found.items()
            for score, words in _SCORES.items()
        ],
        f"{what}: AUROC of test images against others, means over {config.seeds} seeds. 0.5 is "
        "chance; below it the others look more like data. Of cross-entropy alone log p(x) is the "
        "energy score that is taken after the fact.",
    )


def _on_moons(config: Config, context: Context) -> list[Claim]:
    seeds = context.seeds(config.seeds)
    problem = moons(config, seeds)
    calm = moon_kinds(config)
    trained = train_kinds(context, config, "moons", calm | hasty_kinds(config), problem, seeds)
    found = {
        name: context.stage(
            f"moons-{place}", measure.on_moons, problem, row["models"]
        )
        for place, (name, row) in enumerate(trained.items())
    }  # fmt: skip
    show.draw_planes(context, problem, found)
    show.draw_reliability(
        context,
        "moons",
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
    config: ImageConfig, what: str, found: Found, agree: Any, calibrated: bool
) -> list[Claim]:
    plain, ours = found["cross-entropy"], found["JEM"]
    start = f"{what}, {config.image_labels} images:"
    radii = ", ".join(f"{radius:g}" for radius in config.radii)
    attacked = [100 * row["attacked"].mean(axis=1) for row in (ours, plain)]
    # Of cross-entropy alone, the better of the two scores in each seed.
    unseen = [
        ours["auroc_log_density"].mean(axis=1),
        np.max([plain[f"auroc_{score}"].mean(axis=1) for score in _SCORES], axis=0),
    ]
    ece = {"JEM": ours["ece"], "alone": plain["ece"], "tempered": np.asarray(plain["ece_tempered"])}
    calibration = Claim.over_seeds(
        f"{start} a JEM is better calibrated (its calibration error over that of cross-entropy "
        "alone)",
        ece["JEM"] / ece["alone"],
        at_most=0.75,
        reference=f"cross-entropy alone: {np.mean(ece['alone']):.3f}",
        headline=Headline(no_effect=1.0),
    )
    tempered = Claim.over_seeds(
        f"When not to: {start} for calibration alone, one temperature that is fitted to "
        f"{config.image_held} images does as much for cross-entropy (its calibration error, over "
        "the JEM's)",
        ece["tempered"] / ece["JEM"],
        at_most=1.0,
        reference=f"the JEM: {np.mean(ece['JEM']):.3f}",
    )
    return [
        Claim.over_seeds(
            f"{start} attacks leave a JEM with more (points of accuracy over cross-entropy alone, "
            f"mean over the radii {radii})",
            attacked[0] - attacked[1],
            at_least=2.0,
            unit="points",
            reference=f"cross-entropy alone keeps {np.mean(attacked[1]):.1f} %, the JEM "
            f"{np.mean(attacked[0]):.1f} %",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            f"{start} a JEM's density tells test images from what was never seen (AUROC over the "
            "better score of cross-entropy alone, mean over more contrast, shuffled pixels, noise, "
            "means of two)",
            unseen[0] - unseen[1],
            at_least=0.05,
            reference=f"cross-entropy alone: {np.mean(unseen[1]):.2f}, the JEM "
            f"{np.mean(unseen[0]):.2f}; chance: 0.5",
            headline=Headline(no_effect=0.0),
        ),
        *([calibration] if calibrated else []),
        Claim.over_seeds(
            f"{start} a JEM is nearly as good a classifier (points of accuracy over cross-entropy "
            "alone)",
            100 * (ours["accuracy"] - plain["accuracy"]),
            at_least=-3.0,
            unit="points",
            reference=f"cross-entropy alone: {plain['accuracy'].mean():.1%}; the paper's JEM: "
            "92.9 % on CIFAR-10, by a WideResNet 28-10",
        ),
        Claim.over_seeds(
            f"{start} samples of a class look like it to cross-entropy alone (share that it takes "
            "for the class, over its accuracy on test images)",
            agree / plain["accuracy"],
            at_least=0.8,
            reference=f"chance: {0.1 / np.mean(plain['accuracy']):.2f}",
        ),
        *([tempered] if calibrated else []),
    ]


def _claim_of_refined(config: Config, refined: Mapping[str, Any]) -> Claim:
    return Claim.over_seeds(
        "When not to: logits after ten steps of the sampler are little safer than as they are "
        f"(points of accuracy under an attack of radius {measure.REFINED_RADIUS:g} through "
        f"those steps, on {config.refined} digits)",
        100 * (refined["seen"] - refined["plain"]),
        at_most=5.0,
        unit="points",
        reference="by an attack that is blind to the sampler, as in the paper's code: "
        f"{100 * np.mean(refined['blind'] - refined['plain']):.1f} points",
    )


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
        Claim.over_seeds(
            "When not to trust it: at too high a rate energies explode while all numbers are "
            f"finite, and a guard at a gap of {GUARD:g} nats saves such a run (orders of magnitude "
            "of the negative log-likelihood)",
            np.log10(nll["JEM, in a hurry"] / nll["JEM, in a hurry, guarded"]),
            at_least=1.0,
            reference=f"medians: {np.median(nll['JEM, in a hurry']):.3g} nats without it and "
            f"{np.median(nll['JEM, in a hurry, guarded']):.3g} with it",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, buffer=100, labels=40, width=16, steps=10, image_width=16, image_steps=10,
        image_labels=60, image_held=20, image_tested=40, attacked=20, refined=4, chain_steps=5,
        plain_rates=(1e-3, 3e-3),
    ),
    "desk": Config(),
}  # fmt: skip
