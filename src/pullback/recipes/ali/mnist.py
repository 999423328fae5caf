"""Samples, reconstructions and paths of `ali` on MNIST, of which few images have a label."""

from dataclasses import dataclass

from pullback.data import mnist
from pullback.recipes._kit.images import in_blocks
from pullback.recipes.ali import on_images
from pullback.recipes.ali.models import Images
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(Images):
    block: int = 2
    """Pixels are averaged in blocks of so many on each side."""


def run(config: Config, context: Context) -> list[Claim]:
    """Train on all images and a few labels."""
    data = in_blocks(mnist(context.data), config.block)
    return on_images(config, context, lambda seed: data, "MNIST", levels=255, gain=0.1)


PRESETS = {
    "smoke": Config(
        seeds=1, labels=20, image_steps=8, image_width=4, image_latent=2, image_batch=10,
        alone_steps=3, block=14,
    ),
    "desk": Config(labels=50, image_steps=15_000, image_width=160, image_latent=20),
    "paper": Config(
        labels=100, image_steps=200_000, image_width=512, image_latent=64, image_rate=3e-4, block=1
    ),
}  # fmt: skip
