"""The autoencoders of `relax` on Omniglot."""

from pullback.data import omniglot
from pullback.recipes.relax import on_images
from pullback.recipes.relax.mnist import PRESETS as PRESETS
from pullback.recipes.relax.mnist import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """All that is measured, with autoencoders of Omniglot."""
    return on_images(config, context, omniglot(context.data))
