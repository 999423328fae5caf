"""The classifiers of images of `jem` on MNIST."""

from pullback.data import mnist
from pullback.recipes.jem import PRESETS as DIGITS
from pullback.recipes.jem import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Accuracy, other inputs, attacks and samples on MNIST."""
    return on_images(config, context, mnist(context.data), "MNIST", {})


PRESETS = {
    **DIGITS,
    "paper": Config(
        seeds=5, steps=20_000, image_labels=60_000, image_width=1024, image_steps=40_000,
        learning_rate=1e-4, buffer=10_000, image_tested=10_000, attacked=1000,
    ),
}  # fmt: skip
