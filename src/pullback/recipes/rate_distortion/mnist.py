"""Autoencoders of MNIST in the plane of rate and distortion."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from pullback.data import Split, mnist
from pullback.recipes._kit.checks import check_least
from pullback.recipes._kit.image_vaes import grey_rows
from pullback.recipes._kit.images import in_blocks
from pullback.recipes.rate_distortion import models
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(models.Sweep):
    betas: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Weights of the rate of the autoencoders, rising; 1 is among them."""
    rates: tuple[float, ...] = (10.0, 20.0)
    """Target rates of the autoencoders, in nats, rising."""
    decoders: tuple[str, ...] = (models.PLAIN, models.DENSE)
    """Decoders, that of independent pixels first."""
    steps: int = 2500
    """Steps of the autoencoders."""
    block: int = 2
    """Side of the squares of pixels that are averaged; 28 divides by it."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, block=1)
        if 28 % self.block:
            raise ValueError(f"block must divide 28, got {self.block}")


def run(config: Config, context: Context) -> list[Claim]:
    """The same of MNIST."""
    return on_images(config, context, mnist(context.data), "mnist")


def on_images(config: Config, context: Context, images: Split, name: str) -> list[Claim]:
    """Autoencoders whose decoders need z more and less."""
    side = 28 // config.block
    train, test = (x.reshape(-1, 1, side, side) for x in grey_rows(in_blocks(images, config.block)))
    rows = np.random.default_rng(0).permutation(len(test))[:1000]
    # Binarised once and for all, so that all models are scored on the same images.
    level = np.random.default_rng(1).uniform(size=(len(rows), 1, side, side))
    test = jnp.asarray(level < np.asarray(test[rows]), float)
    sizes = models.Sizes(
        (1, side, side), latent=32, width=200, masked=400, channels=12, depth=2, learning_rate=2e-3
    )
    found = models.in_the_plane(
        config, context, sizes, train, test, f"binary {name}, {side} x {side}"
    )
    return models.claims_in_the_plane(config, found, falls=2.0, below=1.0, less=3.0, dear=1.5)


PRESETS = {
    "smoke": Config(
        seeds=1, betas=(0.3, 1.0), rates=(2.0, 5.0), steps=2, pixel_steps=2, block=7,
        decoders=models.DECODERS,
    ),
    "desk": Config(),
    "long": Config(decoders=models.DECODERS, steps=10_000, pixel_steps=2000),
    "paper": Config(
        betas=(0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0), decoders=models.DECODERS, steps=100_000,
        pixel_steps=100_000, block=1,
    ),
}  # fmt: skip
