"""JEM (arXiv 1912.03263): a classifier's logits are a density too, if they are trained as one.

Few labelled points of two moons that overlap: what the density does for calibration, and how its
training explodes. Then images of digits: accuracy, inputs of another kind, attacks, samples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.data import Split, digits
from pullback.recipes.jem import measure, show
from pullback.recipes.jem.models import (
    Config,
    hasty_kinds,
    image_kinds,
    images,
    moon_kinds,
    moons,
    slug,
    train_kinds,
)
from pullback.runs import Claim, Context

Found = Mapping[str, Mapping[str, Any]]


def run(config: Config, context: Context) -> list[Claim]:
    """Two moons, then the 8 x 8 digits that come with scikit-learn."""
    seeds = context.seeds(config.seeds)
    found, claims = _run_on_moons(config, context, seeds)
    return [*claims, *on_images(config, context, digits(), "digits", found)]


def _run_on_moons(
    config: Config, context: Context, seeds: Sequence[int]
) -> tuple[dict[str, dict[str, Any]], list[Claim]]:
    problem = moons(config, seeds)
    kinds = {**moon_kinds(config), **hasty_kinds(config)}
    trained = train_kinds(context, config, "moons", kinds, problem, seeds)
    points = 240 if config.steps >= 1000 else 60
    planes, found = {}, {}
    for name, kind in kinds.items():
        label = slug(name)
        params = trained[name]["params"]
        planes[name] = context.stage(f"plane-{label}", measure.plane, kind, problem, params, points)
        found[name] = context.stage(f"moons-{label}", measure.classify, kind, problem, params)
    worst = int(np.argmax(planes["no guard"]["nll"]))
    show.draw_planes(context, problem, planes, worst)
    show.draw_gaps(context, {n: trained[n] for n, k in kinds.items() if k.sampler})
    _table_of_moons(context, found, planes, trained)
    return found, _claims_of_moons(config, found, planes, trained)


def on_images(
    config: Config, context: Context, split: Split, what: str, moons_found: Found
) -> list[Claim]:
    """Classifiers of images, beside what moons have shown if there were any."""
    seeds = context.seeds(config.seeds)
    problem = images(config, *split, seeds)
    kinds = image_kinds(config)
    trained = train_kinds(context, config, "images", kinds, problem, seeds)
    found, scores, attacks = {}, {}, {}
    for name, kind in kinds.items():
        params = trained[name]["params"]
        found[name] = context.stage(f"images-{name}", measure.classify, kind, problem, params)
        scores[name] = context.stage(
            f"scores-{name}", measure.score, kind, problem, params, context.seed
        )
        attacks[name] = context.stage(
            f"attacks-{name}", measure.attack, kind, problem, params, context.seed
        )
    refined = context.stage(
        "attacks-refined", measure.attack_refined, config, kinds["JEM"], problem,
        trained["JEM"]["params"], context.seed,
    )  # fmt: skip
    drawn = context.stage(
        "samples", measure.draw, kinds["JEM"], problem, trained["JEM"]["params"][0], context.seed
    )
    parts = {f"{what}, {config.image_labels} labels": found}
    if moons_found:
        of_moons = {name: moons_found[name] for name in moon_kinds(config)}
        parts = {f"moons, {config.labels} labels": of_moons, **parts}
    show.draw_reliability(context, parts)
    show.draw_attacks(context, attacks, refined)
    show.draw_scores(context, scores)
    side = round(problem.x.shape[1] ** 0.5)
    names = [str(label) for label in range(problem.classes)]
    data = measure.first_of_each_class(problem)
    show.draw_samples(context, data, drawn["samples"], side, names)
    _table_of_images(context, what, found, scores, attacks, trained)
    return _claims_of_images(config, what, found, scores, attacks, refined, drawn, trained)


def _table_of_moons(context: Context, found: Found, planes: Found, trained: Found) -> None:
    means = lambda name: [float(found[name][k].mean()) for k in ("accuracy", "ece", "nll")]
    context.table(
        "moons",
        ["trained by", "accuracy", "ECE", "NLL of labels (nats)", "NLL of points, median",
         "NLL of points, worst seed", "rollbacks"],
        [
            [
                name,
                *means(name),
                float(np.median(planes[name]["nll"])),
                float(planes[name]["nll"].max()),
                int(np.sum(trained[name]["rollbacks"])),
            ]
            for name in found
        ],
        f"Moons, means over {len(next(iter(found.values()))['ece'])} seeds but for the NLL of "
        "points, which is the normalised -log p(x) of test points in nats. The last three train in "
        "a hurry: without a guard, with one, and with a penalty on energies instead.",
    )  # fmt: skip


def _table_of_images(
    context: Context, what: str, found: Found, scores: Found, attacks: Found, trained: Found
) -> None:
    ood = next(iter(scores.values()))["sets"][1:]
    rows = []
    for name, row in found.items():
        area = scores[name]["areas"]["log_density"].mean(axis=0)
        of_attack = float(attacks[name]["accuracy"][:, measure.RADII.index(1.0)].mean())
        values = [row[k] for k in ("accuracy", "ece", "confidence")]
        rollbacks = int(np.sum(trained[name]["rollbacks"]))
        rows.append(
            [name, *(float(v.mean()) for v in values), of_attack, *map(float, area), rollbacks]
        )
    context.table(
        "images",
        ["trained by", "accuracy", "ECE", "mean confidence", "accuracy, attack of radius 1",
         *(f"AUROC, {name}" for name in ood), "rollbacks"],
        rows,
        f"{what}, means over seeds. AUROC is that of the log-density, test images against others: "
        "0.5 is chance, below it the others look more like data.",
    )  # fmt: skip
    context.table(
        "scores",
        ["trained by", "score", *ood],
        [
            [name, score.replace("_", " "), *map(float, areas.mean(axis=0))]
            for name, row in scores.items()
            for score, areas in row["areas"].items()
        ],
        "AUROC of the three scores, means over seeds. Of the network trained by cross-entropy the "
        "log-density is the energy score that is taken after the fact.",
    )


def _claims_of_moons(config: Config, found: Found, planes: Found, trained: Found) -> list[Claim]:
    plain, ours = found["cross-entropy"], found["JEM"]
    long = found["cross-entropy, higher rate"]
    nll = {name: row["nll"] for name, row in planes.items()}
    labels = f"Moons with {config.labels} labels"
    return [
        Claim.over_seeds(
            f"{labels}: the calibration error of JEM, over that of cross-entropy alone at a rate "
            f"of {config.long_rate:g}, which fits the labels closely in as many steps",
            (ours["ece"] / long["ece"]).tolist(),
            at_most=0.75,
            reference="0.14 to 0.27 in plain JAX, on other moons",
        ),
        Claim.over_seeds(
            "Negative log-likelihood of test labels below that baseline's by",
            (long["nll"] - ours["nll"]).tolist(),
            at_least=0.2,
            unit="nats",
            reference="1.6 to 2.0 nats in plain JAX, on other moons",
        ),
        Claim.over_seeds(
            "When it is worth less: at JEM's own rate, as if stopped early, cross-entropy alone "
            "has part of it too (calibration error over that of the first baseline)",
            (plain["ece"] / long["ece"]).tolist(),
            at_most=1.0,
            reference="no figure that was found",
        ),
        Claim.over_seeds(
            "JEM is a density of the moons (negative log-likelihood of a test point, normalised by "
            "brute force)",
            nll["JEM"].tolist(),
            at_most=2.3,
            unit="nats",
            reference="2.19 to 2.21 in plain JAX",
        ),
        Claim(
            "The logits of cross-entropy alone are none (least negative log-likelihood of a test "
            "point)",
            value=float(nll["cross-entropy"].min()),
            at_least=5.0,
            unit="nats",
            seeds=config.seeds,
            reference="200 to 500 in plain JAX, whatever the box that they are summed over",
        ),
        Claim(
            "When not to trust it: at too high a rate and without a guard, energies explode while "
            "all numbers are finite (largest negative log-likelihood of a test point)",
            value=float(nll["no guard"].max()),
            at_least=100.0,
            unit="nats",
            seeds=config.seeds,
            reference="3e5 to 4e5 in plain JAX; the paper's code asks for a restart by hand",
        ),
        Claim(
            "The gap tells of it (largest mean gap between two points of the history)",
            value=float(np.nanmax(np.abs(trained["no guard"]["gap"]))),
            at_least=10.0,
            unit="nats",
            seeds=config.seeds,
            reference="about 0 while all is well",
        ),
        Claim(
            "Rollbacks by the guard (all seeds together)",
            value=int(np.sum(trained["guard"]["rollbacks"])),
            at_least=1,
            seeds=config.seeds,
            reference="else the run without a guard would not have exploded",
        ),
        Claim(
            "and what it gives back has not exploded, though a hurried density is not a good one "
            "(largest negative log-likelihood of a test point)",
            value=float(nll["guard"].max()),
            at_most=100.0,
            unit="nats",
            seeds=config.seeds,
            reference="2.2 where training is calm; 1e5 and more in an explosion",
        ),
    ]


def _claims_of_images(
    config: Config, what: str, found: Found, scores: Found, attacks: Found,
    refined: Mapping[str, Any], drawn: Mapping[str, Any], trained: Found,
) -> list[Claim]:  # fmt: skip
    plain, ours = found["cross-entropy"], found["JEM"]
    ood = scores["JEM"]["sets"][1:]
    area = lambda name, other: scores[name]["areas"]["log_density"][:, ood.index(other)]
    at_one = measure.RADII.index(1.0)
    stood = lambda name: 100 * attacks[name]["accuracy"][:, at_one]
    half = measure.REFINED_RADII.index(0.5)
    start = f"{what} with {config.image_labels} labels"
    return [
        Claim.over_seeds(
            f"{start}: accuracy is kept (points of JEM over cross-entropy alone)",
            (100 * (ours["accuracy"] - plain["accuracy"])).tolist(),
            at_least=-3.0,
            unit="points",
            reference="0.3 points in plain JAX; the paper's JEM is below its baseline as well",
        ),
        Claim.over_seeds(
            "When not to: the calibration effect does not show here, for this baseline is "
            "calibrated as it is, and a JEM trained briefly is too timid (its calibration error "
            "less that of cross-entropy alone)",
            (ours["ece"] - plain["ece"]).tolist(),
            at_least=0.0,
            reference="0.06 to 0.1 in plain JAX; the moons above show the opposite",
        ),
        Claim.over_seeds(
            "Cross-entropy alone takes test images of more contrast for more likely (AUROC of the "
            "log-density)",
            area("cross-entropy", "contrast x 1.5").tolist(),
            at_most=0.35,
            reference="0.12 in plain JAX; 0.5 is chance",
        ),
        Claim.over_seeds(
            "JEM does not",
            area("JEM", "contrast x 1.5").tolist(),
            at_least=0.7,
            reference="0.93 in plain JAX, trained for longer",
        ),
        Claim.over_seeds(
            "JEM tells images with shuffled pixels apart",
            area("JEM", "shuffled pixels").tolist(),
            at_least=0.98,
            reference="1.00 in plain JAX; cross-entropy alone 0.98",
        ),
        Claim.over_seeds(
            "When not to: means of two images it tells apart no better than cross-entropy alone "
            "(AUROC, difference)",
            (area("JEM", "mean of two") - area("cross-entropy", "mean of two")).tolist(),
            at_most=0.0,
            reference="no figure that was found",
        ),
        Claim.over_seeds(
            "Attacks of radius 1 leave JEM with more (points of accuracy over cross-entropy alone)",
            (stood("JEM") - stood("cross-entropy")).tolist(),
            at_least=2.0,
            unit="points",
            reference="11 points with 200 labels in plain JAX, trained for longer",
        ),
        Claim.over_seeds(
            "When not to: logits after ten steps of the sampler are little safer, under an attack "
            f"through them on {config.attacked} images, than as they are (points at radius 0.5)",
            (100 * (refined["seen"] - refined["plain"])[:, half]).tolist(),
            at_most=5.0,
            unit="points",
            reference="the paper found them safer, by an attack that is blind to the sampler",
        ),
        Claim(
            "Samples look like their class (share whose nearest image of the data has it)",
            value=drawn["agree"],
            at_least=0.5,
            reference="chance is 0.1",
        ),
        Claim(
            "With the sampler of the paper and a moderate rate no run rolls back (times)",
            value=int(np.sum(trained["JEM"]["rollbacks"])),
            at_most=0,
            seeds=config.seeds,
            reference="the paper's longer runs do explode",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=2, buffer=100, labels=40, points=200, tested=200, width=16, steps=40, chain=3,
        hasty_steps=40, hasty_chain=2, image_width=16, image_steps=20, image_labels=60,
        image_tested=40, attacked=4,
    ),
    "desk": Config(),
}  # fmt: skip
