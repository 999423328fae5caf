"""The learned images of `implicit-bias` on MNIST."""

from pullback.data import mnist
from pullback.recipes.implicit_bias import on_images
from pullback.recipes.implicit_bias.models import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Learn the images, and train anew on them."""
    split = mnist(context.data)
    return on_images(config, context, lambda seed: split, "MNIST")


PRESETS = {
    "smoke": Config(
        seeds=1, images=60, width=8, warm_steps=(3,), warm_terms=(2,), warm_outer=20, cold_steps=5,
        cold_terms=3, cold_outer=10, decays=(0.1,), again=20, points=2,
    ),
    "desk": Config(images=5000, warm_outer=1200),
    "paper": Config(seeds=5, images=60_000, warm_outer=6000, cold_steps=1000, cold_outer=2000),
}  # fmt: skip
