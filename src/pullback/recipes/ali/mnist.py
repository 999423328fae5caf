"""Samples, reconstructions and paths of `ali` on MNIST, of which few images have a label."""

from pullback.data import mnist
from pullback.recipes.ali import on_images
from pullback.recipes.ali.models import Images
from pullback.runs import Claim, Context


def run(config: Images, context: Context) -> list[Claim]:
    """Train on all images and a few labels."""
    data = mnist(context.data)
    return on_images(config, context, lambda seed: data, "MNIST", levels=255)


PRESETS = {
    "smoke": Images(
        seeds=1, labels=20, image_steps=8, image_width=4, image_latent=2, image_batch=10,
        alone_steps=3,
    ),
    "desk": Images(seeds=1, image_steps=20_000, image_width=256, image_latent=32),
    "paper": Images(seeds=3, image_steps=200_000, image_width=512, image_latent=64),
}  # fmt: skip
