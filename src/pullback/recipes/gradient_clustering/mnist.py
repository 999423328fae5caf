"""The measurements of `gradient-clustering` on MNIST."""

from pullback.data import mnist
from pullback.recipes.gradient_clustering import PRESETS as DIGITS
from pullback.recipes.gradient_clustering import on_images
from pullback.recipes.gradient_clustering.models import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train on a part of MNIST."""
    return on_images(config, context, mnist(context.data).train, "MNIST")


PRESETS = {
    "smoke": DIGITS["smoke"],
    "desk": Config(
        images=4000, width=128, batch_size=128, rate=0.05, small_rate=0.005,
        snapshots=(100, 500, 2000),
    ),
    "paper": Config(
        seeds=5, images=20_000, width=1024, batch_size=128, rate=0.02, small_rate=0.002,
        momentum=0.5, snapshots=(2000, 10_000, 50_000),
    ),
}  # fmt: skip
