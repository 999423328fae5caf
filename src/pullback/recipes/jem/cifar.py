"""The classifiers of images of `jem` on the subset of CIFAR-10, in colour."""

from dataclasses import replace

import numpy as np

from pullback.data import Split, cifar10_subset
from pullback.recipes.jem import on_images
from pullback.recipes.jem.mnist import PRESETS as MNIST
from pullback.recipes.jem.mnist import Config, small
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Attacks, other inputs, calibration, accuracy and samples on the subset of CIFAR-10."""
    parts = cifar10_subset(context.data)
    split = Split(*(small(np.moveaxis(part.x, -1, 1), part.y, config.block) for part in parts))
    return on_images(config, context, split, "CIFAR-10 subset", calibrated=True)[2]


PRESETS = {
    "smoke": MNIST["smoke"],
    "desk": replace(
        MNIST["desk"], image_labels=1000, density_weight=0.5, radii=(0.25, 0.5, 1.0),
    ),
    "long": replace(
        MNIST["long"], image_labels=3500, image_held=500, image_steps=8000, image_tested=2000,
        radii=(0.25, 0.5, 1.0),
    ),
}  # fmt: skip
