"""The classifiers of images of `jem` on MNIST, by a small convolutional network."""

from dataclasses import dataclass, replace

import numpy as np

from pullback.data import Labelled, Split, mnist
from pullback.recipes._kit.images import averaged
from pullback.recipes.jem import on_images
from pullback.recipes.jem.models import ImageConfig
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(ImageConfig):
    block: int = 2
    """Blocks of so many by so many pixels are averaged."""

    def __post_init__(self):
        super().__post_init__()
        if self.block not in (1, 2, 4):
            raise ValueError(f"block must be 1, 2 or 4, got {self.block}")


def run(config: Config, context: Context) -> list[Claim]:
    """Attacks, other inputs, accuracy and samples on MNIST."""
    parts = mnist(context.data)
    split = Split(*(small(part.x[:, None], part.y, config.block) for part in parts))
    return on_images(config, context, split, "MNIST")[2]


def small(x: np.ndarray, y: np.ndarray, block: int) -> Labelled:
    """Images `[n, colours, height, width]` averaged in blocks."""
    pixels = averaged(x.reshape(-1, *x.shape[2:]), block)
    return Labelled(pixels.reshape(*x.shape[:2], *pixels.shape[1:]), y)


_DESK = Config(
    seeds=5, batch_size=32, learning_rate=1e-3, image_labels=2000, image_held=500, image_width=24,
    image_steps=800, chain_steps=10, density_weight=0.1, image_tested=1000, attacked=200,
    radii=(0.5, 1.0, 2.0),
)  # fmt: skip

PRESETS = {
    "smoke": Config(
        seeds=2, batch_size=8, buffer=50, image_labels=60, image_held=20, image_width=2,
        image_steps=4, chain_steps=2, image_tested=20, attacked=4, radii=(1.0, 2.0),
        plain_rates=(1e-3, 3e-3), block=4,
    ),
    "desk": _DESK,
    "long": replace(
        _DESK, image_labels=50_000, image_held=5000, image_width=48, image_steps=10_000,
        chain_steps=20, density_weight=1.0, buffer=10_000, image_tested=10_000, attacked=1000,
        block=1, radii=(1.0, 2.0, 4.0),
    ),
}  # fmt: skip
