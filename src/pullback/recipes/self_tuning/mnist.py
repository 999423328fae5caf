"""The trainings of `self-tuning` on MNIST."""

import dataclasses

from pullback.data import mnist
from pullback.recipes.self_tuning import PRESETS as DIGITS
from pullback.recipes.self_tuning import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Tune on a part of MNIST."""
    return on_images(config, context, mnist(context.data))


PRESETS = {
    "smoke": dataclasses.replace(DIGITS["smoke"], cutout=14, largest_cutout=20),
    "desk": Config(
        seeds=2, train=500, constants=(0.01, 0.1, 0.2, 0.35, 0.5, 0.8), start=0.8, steps=2000,
        evaluations=40, cutout=20, largest_cutout=24,
    ),
    "paper": Config(
        seeds=5, train=5000, held_out=5000, width=512, steps=20_000, evaluations=100,
        cutout=20, largest_cutout=24,
    ),
}  # fmt: skip
