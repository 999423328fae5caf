"""The trainings of `self-tuning` on the subset of CIFAR-10, in grey."""

import dataclasses

from pullback.data import Labelled, Split, cifar10_subset
from pullback.recipes.self_tuning import PRESETS as DIGITS
from pullback.recipes.self_tuning import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Tune on a part of the subset."""
    grey = lambda part: Labelled(part.x.mean(axis=-1, keepdims=True), part.y)
    return on_images(config, context, Split(*map(grey, cifar10_subset(context.data))))


PRESETS = {
    "smoke": dataclasses.replace(DIGITS["smoke"], cutout=14, largest_cutout=20),
    "desk": Config(
        seeds=2, train=1000, held_out=1000, constants=(0.01, 0.1, 0.2, 0.35, 0.5, 0.8), start=0.8,
        steps=2000, evaluations=40, cutout=24, largest_cutout=28,
    ),
}  # fmt: skip
