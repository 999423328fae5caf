"""The autoencoders of `mnist.py`, of Omniglot."""

from pullback.data import omniglot
from pullback.recipes.sumo.mnist import PRESETS as PRESETS
from pullback.recipes.sumo.mnist import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Held-out likelihood of each way to train on."""
    return on_images(config, context, omniglot(context.data))
