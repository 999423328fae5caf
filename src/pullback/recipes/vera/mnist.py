"""The classifiers of `vera` on MNIST, of which few images have labels."""

from pullback.data import mnist
from pullback.recipes.vera import PRESETS as PRESETS
from pullback.recipes.vera import Config, few_labels
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Few labels, with the other images of MNIST and without."""
    return few_labels(config, context, mnist(context.data), "MNIST")
