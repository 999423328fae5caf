"""The measurements of `gradient-clustering` on the subset of CIFAR-10, with a dense network."""

from pullback.data import cifar10_subset
from pullback.recipes.gradient_clustering import PRESETS as DIGITS
from pullback.recipes.gradient_clustering import on_images
from pullback.recipes.gradient_clustering.models import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train on the subset."""
    return on_images(config, context, cifar10_subset(context.data).train, "CIFAR-10")


PRESETS = {
    "smoke": DIGITS["smoke"],
    "desk": Config(
        images=2000, width=128, batch_size=64, rate=0.02, small_rate=0.002,
        snapshots=(100, 500, 2000),
    ),
}  # fmt: skip
