"""The autoencoders of `relax` on MNIST."""

from pullback.data import mnist
from pullback.recipes.relax import PRESETS as DIGITS
from pullback.recipes.relax import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """All that is measured, with autoencoders of MNIST."""
    return on_images(config, context, mnist(context.data))


PRESETS = {
    **DIGITS,
    "paper": Config(
        toy_steps=10_000, latents=200, surrogate=200, iterations=2_000_000, batch_size=24,
        learning_rate=1e-4, images=60_000, episodes=1500,
    ),
}  # fmt: skip
