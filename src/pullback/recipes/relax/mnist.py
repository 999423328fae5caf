"""The autoencoders of `relax` on MNIST."""

from pullback.data import mnist
from pullback.recipes.relax.autoencoders import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train by each estimator."""
    return on_images(config, context, mnist(context.data))


PRESETS = {
    "smoke": Config(
        seeds=2, models=("linear",), ways=("rebar", "relax"), latents=4, surrogate=4,
        iterations=20, batch_size=8, images=40,
    ),
    "desk": Config(iterations=500),
    "long": Config(
        latents=200, width=200, surrogate=200, iterations=5000, learning_rates=(1e-3,),
        images=60_000,
    ),
    "paper": Config(
        latents=200, width=200, surrogate=200, iterations=2_000_000,
        learning_rates=(5e-5, 1e-4, 5e-4, 1e-3, 5e-3), images=60_000,
    ),
}  # fmt: skip
