"""The autoencoders of `relax` on Omniglot."""

from pullback.data import omniglot
from pullback.recipes.relax.autoencoders import Config, on_images
from pullback.recipes.relax.mnist import PRESETS as PRESETS
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train by each estimator."""
    return on_images(config, context, omniglot(context.data))
