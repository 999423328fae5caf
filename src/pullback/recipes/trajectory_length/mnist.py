"""The trainings of `trajectory-length` on MNIST."""

from pullback.data import mnist
from pullback.recipes.trajectory_length import on_images
from pullback.recipes.trajectory_length.models import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train on a part of MNIST."""
    return on_images(config, context, mnist(context.data), "MNIST")


PRESETS = {
    "smoke": Config(
        seeds=1, images=64, tested=40, width=10, layers=3, trained=(1, 2), steps=3, noisy_layers=4,
        noisy_steps=4, batch_size=16, draws=2,
    ),
    "desk": Config(images=2000, trained=(1, 4, 7)),
    "paper": Config(seeds=5, images=60_000, tested=10_000, steps=2000, noisy_steps=20_000),
}  # fmt: skip
