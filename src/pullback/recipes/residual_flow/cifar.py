"""The residual flow on a subset of CIFAR-10: bits per dimension."""

import dataclasses

from pullback.data import cifar10_subset
from pullback.recipes.residual_flow.mnist import PRESETS as MNIST
from pullback.recipes.residual_flow.mnist import Config, on_images, prepared
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Bits per dimension of CIFAR-10."""
    sets = cifar10_subset(context.data)
    return on_images(config, context, prepared("CIFAR-10 subset", sets, config.side, 0.05))


PRESETS = {
    "smoke": MNIST["smoke"],
    "desk": dataclasses.replace(MNIST["desk"], side=16),
    "paper": dataclasses.replace(MNIST["paper"], side=32),
}
