"""The comparison of `sde-bnn` on the subset of CIFAR-10, by convolutions.

Images are averaged in blocks, unless `side` is 32, so that an experiment takes minutes.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from pullback.data import Labelled, Split, cifar10_subset
from pullback.recipes._kit.images import averaged
from pullback.recipes.sde_bnn import classifiers
from pullback.recipes.sde_bnn.classifiers import Images
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(classifiers.Config):
    side: int = 16
    """Pixels in a row of an image, which divide 32: means of what there is."""

    def __post_init__(self):
        super().__post_init__()
        if 32 % self.side:
            raise ValueError(f"side must divide 32, got {self.side}")


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on the subset."""
    data = cifar10_subset(context.data)
    return classifiers.run(
        config, context, lambda seed: images(config, data, seed), gains=(1.0, 1.0)
    )


def images(config: Config, data: Split, seed: int) -> Images:
    """Some to train on and to choose by, drawn anew for each seed, and the test images.

    Colours come first.
    """

    def smaller(part: Labelled) -> Labelled:
        planes = np.moveaxis(part.x, -1, 1).reshape(-1, 32, 32)
        planes = averaged(planes, 32 // config.side)
        return Labelled(planes.reshape(-1, 3, config.side, config.side), part.y)

    train, test = map(smaller, data)
    return *classifiers.drawn(config, train, seed), test


PRESETS = {
    "smoke": Config(
        net="conv", seeds=1, sigmas=(0.2,), stds=(0.3,), rates=(0.2,), examples=40, held_out=20,
        members=2, iterations=2, batch_size=4, dim=2, solver_steps=2, paths=2,
    ),
    "desk": Config(
        net="conv", sigmas=(0.1, 0.3), stds=(0.03, 0.1), rates=(0.2,), examples=3000,
        held_out=500, members=3, iterations=500, batch_size=50, dim=8, solver_steps=5, paths=10,
    ),
}  # fmt: skip
PRESETS["long"] = dataclasses.replace(
    PRESETS["desk"], side=32, held_out=1000, rates=(0.1, 0.2), iterations=1600, dim=16,
    solver_steps=10,
)  # fmt: skip
