"""Autoencoders of Omniglot."""

from pullback.data import omniglot
from pullback.recipes._kit.image_vaes import Config, compare_on_images
from pullback.recipes.sumo.mnist import PRESETS as PRESETS
from pullback.recipes.sumo.mnist import ways
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Held-out log-evidence of each way to train."""
    return compare_on_images(config, context, omniglot(context.data), ways(config))
