"""The trainings of `trajectory-length` on the subset of CIFAR-10, small and in grey.

Whole images teach a dense network next to nothing of 2,000. The variance of the weights is that of
the paper's networks on this set.
"""

import dataclasses

from pullback.data import Labelled, Split, cifar10_subset
from pullback.recipes._kit.images import in_blocks
from pullback.recipes.trajectory_length import on_images
from pullback.recipes.trajectory_length.mnist import PRESETS as MNIST
from pullback.recipes.trajectory_length.models import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train on a part of the subset, in 8 x 8 pixels."""
    parts = cifar10_subset(context.data)
    grey = Split(*(Labelled(part.x.mean(axis=-1), part.y) for part in parts))
    return on_images(config, context, in_blocks(grey, 4), "CIFAR-10")


PRESETS = {
    "smoke": MNIST["smoke"],
    "desk": dataclasses.replace(MNIST["desk"], variance=1.0),
}
