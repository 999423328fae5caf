"""Autoencoders of MNIST in the plane of rate and distortion."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from pullback.data import Split, mnist
from pullback.recipes._kit.image_vaes import grey_rows
from pullback.recipes.rate_distortion import models
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(models.Sweep):
    seeds: int = 1
    """How many models are trained for each objective."""
    steps: int = 3000
    """Steps of the autoencoders with independent pixels."""
    pixel_steps: int = 600
    """Steps of the autoencoders with an autoregressive decoder."""


def run(config: Config, context: Context) -> list[Claim]:
    """The same of MNIST."""
    return on_images(config, context, mnist(context.data), "mnist")


def on_images(config: Config, context: Context, images: Split, name: str) -> list[Claim]:
    """Autoencoders with a plain and with an autoregressive decoder."""
    train, test = (x.reshape(-1, 1, 28, 28) for x in grey_rows(images))
    rows = np.random.default_rng(0).permutation(len(test))[:1000]
    # Binarised once and for all, so that all models are scored on the same images.
    level = np.random.default_rng(1).uniform(size=(len(rows), 1, 28, 28))
    test = jnp.asarray(level < np.asarray(test[rows]), float)
    sizes = models.Sizes(
        (1, 28, 28), latent=32, width=200, channels=12, depth=2, learning_rate=1e-3
    )
    found = models.in_the_plane(config, context, sizes, train, test, f"binary {name}")
    return models.claims_in_the_plane(config, found, slack=5.0)


PRESETS = {
    "smoke": Config(betas=(0.3, 1.0), rates=(2.0, 5.0), steps=2, pixel_steps=2),
    "desk": Config(),
    "paper": Config(
        seeds=3,
        betas=(0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
        steps=100_000,
        pixel_steps=100_000,
    ),
}
