"""The networks of `i-resnet` on MNIST, with convolutions."""

import dataclasses

import numpy as np

from pullback.data import Split, mnist
from pullback.recipes._kit.images import in_blocks
from pullback.recipes.i_resnet import PRESETS as DIGITS
from pullback.recipes.i_resnet import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train, invert and measure on MNIST; the densities are of images of 14 by 14."""
    data = mnist(context.data)
    levels = lambda x: np.round(255 * x[:, None]) / np.float32(255)
    small = Split(*(part._replace(x=levels(part.x)) for part in in_blocks(data, 2)))
    return on_images(config, context, squeezed(data), small, 256, 1e-6, "MNIST")


def squeezed(data: Split) -> Split:
    """Images of 28 by 28 as 16 channels of 7 by 7, in [-1, 1]."""
    apart = lambda x: x.reshape(-1, 7, 4, 7, 4).transpose(0, 2, 4, 1, 3).reshape(-1, 16, 7, 7)
    return Split(*(part._replace(x=2 * apart(part.x) - 1) for part in data))


PRESETS = {
    **DIGITS,
    "long": dataclasses.replace(
        DIGITS["desk"], steps=300, flow_dense=4, flow_width=128, flow_steps=800
    ),
    "paper": Config(
        seeds=5, bounds=(0.9, 0.7, 0.5), blocks=18, width=512, steps=40_000, flow_blocks=16,
        flow_hidden=512, flow_dense=4, flow_width=128, flow_steps=50_000,
    ),
}  # fmt: skip
