"""The autoencoders of `relax` on MNIST."""

from pullback.data import mnist
from pullback.recipes.relax.autoencoders import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train by each estimator."""
    return on_images(config, context, mnist(context.data))


PRESETS = {
    "smoke": Config(
        seeds=2, ways=("reinforce", "relax", "gumbel"), latents=4, surrogate=4, iterations=20,
        batch_size=8, images=40,
    ),
    "desk": Config(),
    "paper": Config(
        latents=200, surrogate=200, iterations=2_000_000, batch_size=24, learning_rate=1e-4,
        images=60_000,
    ),
}  # fmt: skip
