"""The residual flow on a subset of CIFAR-10: bits per dimension."""

import dataclasses

from pullback.data import cifar10_subset
from pullback.recipes.residual_flow.mnist import PRESETS as MNIST
from pullback.recipes.residual_flow.mnist import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Bits per dimension of CIFAR-10."""
    return on_images(config, context, "CIFAR-10 subset", cifar10_subset(context.data), 0.05)


PRESETS = {
    name: config
    if name == "smoke"
    else dataclasses.replace(config, side=32 if name == "paper" else 16)
    for name, config in MNIST.items()
}
