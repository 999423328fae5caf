"""The decays and the learned images of `ift-hypergradient` on MNIST."""

from pullback.data import mnist
from pullback.recipes.ift_hypergradient import on_images
from pullback.recipes.ift_hypergradient.models import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Tune decays, and learn images."""
    return on_images(config, context, mnist(context.data), "MNIST")


PRESETS = {
    "smoke": Config(
        seeds=1, few=10, width=4, steps=3, terms=2, outer=10, again=10, images=40, image_steps=3,
        draws=1,
    ),
    "desk": Config(images=5000, image_steps=200),
    "paper": Config(width=1024, images=60_000, image_steps=200, outer=4000),
}  # fmt: skip
