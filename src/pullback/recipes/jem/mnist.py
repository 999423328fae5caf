"""The classifiers of images of `jem` on MNIST."""

from pullback.data import mnist
from pullback.recipes.jem import on_images
from pullback.recipes.jem.models import ImageConfig as Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Accuracy, samples, other inputs and attacks on MNIST."""
    return on_images(config, context, mnist(context.data), "MNIST")


PRESETS = {
    "smoke": Config(
        seeds=2, buffer=100, image_width=16, image_steps=20, image_labels=60, image_tested=40,
        attacked=4,
    ),
    "desk": Config(),
    "paper": Config(
        seeds=5, image_labels=60_000, image_width=1024, image_steps=40_000,
        learning_rate=1e-4, buffer=10_000, image_tested=10_000, attacked=1000,
    ),
}  # fmt: skip
