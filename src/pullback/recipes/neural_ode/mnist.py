"""The networks of the paper on MNIST.

Convolutions see whole images; else blocks of 4 x 4 are averaged, which is how the 8 x 8 digits were
made.
"""

import numpy as np

from pullback.data import Labelled, Split, mnist
from pullback.recipes.neural_ode import PRESETS as DIGITS
from pullback.recipes.neural_ode import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on MNIST."""
    return on_images(config, context, images(config, mnist(context.data)))


def images(config: Config, data: Split) -> Split:
    """As the networks take them."""
    if config.net == "conv":
        return data
    return Split(*(Labelled(_blocks_of_four(part.x), part.y) for part in data))


def _blocks_of_four(images: np.ndarray) -> np.ndarray:
    n, height, width = images.shape
    return images.reshape(n, height // 4, 4, width // 4, 4).mean(axis=(2, 4))


PRESETS = {
    **DIGITS,
    "paper": Config(
        net="conv",
        examples=0,
        seeds=3,
        epochs=160,
        optimiser="sgd",
        learning_rate=0.1,
        crop=4,
        probe=512,
    ),
}
