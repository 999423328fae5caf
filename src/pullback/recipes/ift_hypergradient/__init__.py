"""Hyperparameters by implicit differentiation (arXiv 1911.02590): very many of them, in one run.

A decay for each weight, until a few validation rows are fitted; ten learned images; a weight for
each label, of which some are wrong; a learned augmentation. How far truncated inverses are off, and
what a step of training costs with its share of a hypergradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback import data
from pullback.recipes._kit.checks import check_rising
from pullback.recipes.ift_hypergradient import measure, models, noisy, show
from pullback.runs import Claim, Context, Headline


@dataclass(frozen=True)
class Config(noisy.Config):
    lengths: tuple[int, ...] = (0, 1, 3, 10, 30, 100, 300)
    """Terms of the series whose error is measured, rising."""

    def __post_init__(self):
        super().__post_init__()
        check_rising(self, "lengths", count=2, least=0)


def run(config: Config, context: Context) -> list[Claim]:
    """Tune decays, images, weights of rows and an augmentation; measure inverses and costs."""
    split = data.digits()
    seeds = context.seeds(config.seeds)
    many = on_images(config, context, split, "digits")
    cost = context.stage("cost", measure.cost, config, split, seeds[0])
    context.table(
        "cost",
        ["product with the Hessian", f"hypergradient, {config.terms} terms", "joint step"],
        [[cost["product"], cost["hypergradient"], cost["joint"]]],
        "In units of a gradient of the training loss, by the operations that the compiler counts. "
        f"A joint step is one of training with its share of the hypergradient after each "
        f"{config.steps}.",
    )
    inverse = context.stage("inverses", measure.inverses, config.lengths, seeds[0])
    show.draw_inverses(context, config.lengths, inverse)
    seeds = context.seeds(config.noisy_seeds)
    wrong = {
        kind: context.stage(
            f"labels-{place}", noisy.find_wrong, config, context, kind, split, seeds
        )
        for place, kind in enumerate(noisy.MISTAKES)
    }
    augmented = context.stage("augmentation", noisy.augment, config, context, split, seeds)
    _tables(config, context, wrong, augmented)
    show.draw_rows(context, wrong, augmented)
    return [
        many[0],
        Claim(
            f"Their hypergradient by {config.terms} terms of Neumann's series takes less memory "
            "than through as many steps that are unrolled (ratio)",
            value=cost["memory"] / cost["unrolled"],
            at_most=0.5,
            reference=f"1: as much; beside a plain gradient's, by the compiler's count, "
            f"{cost['memory']:.1f} and {cost['unrolled']:.1f} times",
            headline=Headline(no_effect=1.0),
        ),
        Claim(
            "A step of training with its share of the hypergradient costs no more than four plain "
            "ones (ratio of operations)",
            value=cost["joint"],
            at_most=4,
            reference=f"1: a plain step; a hypergradient alone: {cost['hypergradient']:.1f}",
        ),
        *many[1:],
        Claim(
            "Each term of Neumann's series takes as much of the error as the spectrum says (slope "
            "of the log error over log(1 - mu/L))",
            value=inverse["slope"] / inverse["rate"],
            at_least=0.8,
            at_most=1.2,
            reference="1: the bound; mu and L are the ends of the spectrum",
        ),
        *_claims_of_rows(config, wrong, augmented),
    ]


def on_images(
    config: models.Config, context: Context, split: data.Split, source: str
) -> list[Claim]:
    """Tune decays on few rows of images, and learn ten images."""
    seeds = context.seeds(config.seeds)
    decays = {
        name: context.stage(
            f"decays-{place}", models.tune_decays, config, context, name, split, seeds
        )
        for place, name in enumerate(models.HOW_MANY)
    }
    images = context.stage("images", models.distil, config, context, split, seeds)
    show.draw_decays(context, decays)
    show.draw_images(context, images)
    mean = lambda row, *keys: [float(np.mean(row[key])) for key in keys]
    context.table(
        "decays",
        ["decays", "validation", "train", "test", "re-trained: validation", "test", "ratio"],
        [
            [name, *mean(row, "validation", "train", "test", "validation_again", "test_again",
                         "ratio")]
            for name, row in decays.items()
        ],
        f"Accuracies with {config.few} training and {config.few} validation rows of {source}: "
        "where tuning ends, and of a network that starts anew at the tuned decays. Means over "
        f"{config.seeds} seeds; ratio is what the series leaves over.",
    )  # fmt: skip
    context.table(
        "images",
        ["ten images", "test accuracy"],
        [
            ["learned, starting anew", *mean(images, "learned")],
            ["learned, where tuning ends", *mean(images, "tuned")],
            ["means of the classes", *mean(images, "means")],
            ["real, drawn", *mean(images, "real")],
        ],
        f"A linear model that is trained on ten images of {source}, one of each class.",
    )
    return _claims_of_images(config, decays, images, source)


def _tables(
    config: Config, context: Context, wrong: Mapping[str, Any], augmented: Mapping[str, Any]
) -> None:
    keys = ("weights", "by_plain", "by_clean", "test", "test_again", "test_plain", "test_clean")
    context.table(
        "labels",
        ["mistakes", "found by weights", "by losses, trained on all", "by losses, on the clean",
         "test accuracy: tuned", "re-trained", "all rows alike", "clean rows alone"],
        [[kind, *(float(np.mean(row[key])) for key in keys)] for kind, row in wrong.items()],
        f"{config.labelled} rows of which some have a wrong label, and {config.clean} clean ones: "
        "how well a score tells the wrong ones (area under the curve), and what networks are "
        f"worth. Means over {config.noisy_seeds} seeds.",
    )  # fmt: skip
    context.table(
        "augmentation",
        ["network", "validation accuracy", "test accuracy"],
        [
            [name, *(float(np.mean(augmented[f"{of}_{rows}"])) for rows in ("validation", "test"))]
            for name, of in (
                ("learned augmentation, where tuning ends", "tuned"),
                ("learned augmentation, re-trained", "again"),
                ("no augmentation", "none"),
            )
        ],
        f"{config.clean} training and {config.clean} validation rows; means over "
        f"{config.noisy_seeds} seeds.",
    )


def _claims_of_images(
    config: models.Config, decays: Mapping[str, Any], images: Mapping[str, Any], source: str
) -> list[Claim]:
    many, one = (decays[name] for name in models.HOW_MANY)
    return [
        Claim.over_seeds(
            f"{many['logs'].shape[1]:,} decays, one for each weight, fit {config.few} validation "
            f"rows of {source} better than one decay for all (accuracy, difference)",
            many["validation"] - one["validation"],
            at_least=0.1,
            reference=f"0: as well; {many['validation'].mean():.3f} and "
            f"{one['validation'].mean():.3f}, on test rows {many['test'].mean():.3f} and "
            f"{one['test'].mean():.3f}",
            headline=Headline(no_effect=0.0),
        ),
        Claim.over_seeds(
            f"{source}: a linear model that starts anew on ten learned images beats one on ten "
            "real images by (test accuracy)",
            images["learned"] - images["real"],
            at_least=0.2,
            reference=f"0: as good; {images['learned'].mean():.3f} and "
            f"{images['real'].mean():.3f}; on the means of the classes "
            f"{images['means'].mean():.3f}",
        ),
    ]


def _claims_of_rows(
    config: Config, wrong: Mapping[str, Any], augmented: Mapping[str, Any]
) -> list[Claim]:
    random, system = (wrong[kind] for kind in noisy.MISTAKES)
    return [
        Claim.over_seeds(
            "A fifth of the labels is wrong at random: learned weights find them (area under the "
            "curve)",
            random["weights"],
            at_least=0.9,
            reference=f"0.5 by chance; sorting by the losses of plain training: "
            f"{random['by_plain'].mean():.3f}, which is the better way here",
        ),
        Claim.over_seeds(
            "Half of the even digits have the next one's label: learned weights find them "
            "better than the losses of plain training do (area under the curve, difference)",
            system["weights"] - system["by_plain"],
            at_least=0.1,
            reference=f"by losses: {system['by_plain'].mean():.3f}; by those of a network that is "
            f"trained on the {config.clean} clean rows alone: {system['by_clean'].mean():.3f}",
        ),
        Claim.over_seeds(
            "When not to: an augmentation learned on few rows does not help a network that starts "
            "anew (test accuracy, with it less without)",
            augmented["again_test"] - augmented["none_test"],
            at_most=0,
            reference=f"without: {augmented['none_test'].mean():.3f}; where tuning ends "
            f"{augmented['tuned_validation'].mean():.3f} of the validation rows are right",
        ),
    ]


PRESETS = {
    "smoke": Config(
        seeds=1, noisy_seeds=1, few=10, width=4, steps=3, terms=2, outer=10, again=10,
        images=40, image_steps=3, draws=1, labelled=30, clean=30, label_outer=10, augment_steps=3,
        augment_outer=10, lengths=(0, 5),
    ),
    "desk": Config(),
}  # fmt: skip
