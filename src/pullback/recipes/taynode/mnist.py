"""The networks of the paper on MNIST, whole or averaged in blocks of pixels."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from pullback.data import Labelled, Split, mnist
from pullback.recipes import taynode
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(taynode.Config):
    shrink: int = 2
    """Pixels are averaged in blocks of so many by so many; 1 leaves the 784 of them."""

    def __post_init__(self):
        super().__post_init__()
        if self.shrink < 1 or 28 % self.shrink:
            raise ValueError(f"shrink must divide 28, got {self.shrink}")


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on MNIST."""
    return taynode.on_images(config, context, images(config, mnist(context.data)))


def images(config: Config, data: Split) -> Split:
    """As the networks take them."""
    return Split(*(Labelled(_blocks(part.x, config.shrink), part.y) for part in data))


def _blocks(images: np.ndarray, side: int) -> np.ndarray:
    n, height, width = images.shape
    return images.reshape(n, height // side, side, width // side, side).mean(axis=(2, 4))


PRESETS = {
    "smoke": Config(**dataclasses.asdict(taynode.PRESETS["smoke"])),
    "desk": Config(),
    "paper": Config(
        shrink=1,
        orders=(3,),
        weights=(6e-5,),
        field="logistic",
        iterations=96_000,
        optimiser="sgd",
        learning_rate=0.1,
        solver_steps=0,
    ),
}
