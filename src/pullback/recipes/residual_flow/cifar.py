"""The residual flow on a subset of CIFAR-10: bits per dimension."""

import dataclasses

from pullback.data import cifar10_subset
from pullback.recipes.residual_flow.mnist import PRESETS as MNIST
from pullback.recipes.residual_flow.mnist import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Bits per dimension of CIFAR-10."""
    return on_images(
        config, context, "CIFAR-10 subset", cifar10_subset(context.data), 0.05,
        "; in the paper, all of CIFAR-10 at 32x32, 16 blocks of 512 channels a scale: 3.28 bits",
    )  # fmt: skip


PRESETS = {
    "smoke": MNIST["smoke"],
    "desk": dataclasses.replace(MNIST["desk"], side=16),
    "paper": dataclasses.replace(MNIST["paper"], side=32),
}
