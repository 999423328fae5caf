"""The classifiers of `vera` on MNIST, of which few images have labels."""

from pullback.data import mnist
from pullback.recipes.vera import few_labels
from pullback.recipes.vera.models import LabelConfig as Config
from pullback.recipes.vera.models import flat
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Few labels, with the other images of MNIST and without."""
    return few_labels(config, context, {"MNIST": flat(mnist(context.data))})


PRESETS = {
    "smoke": Config(
        seeds=1, samples=2, labels_per_class=2, digit_steps=10, digit_width=8, digit_latent=2,
        images=200,
    ),
    "desk": Config(),
    "long": Config(samples=20, digit_steps=10_000, digit_width=256, digit_latent=32, images=60_000),
    "paper": Config(
        seeds=5, samples=20, digit_steps=100_000, digit_width=500, digit_latent=32, images=60_000
    ),
}  # fmt: skip
