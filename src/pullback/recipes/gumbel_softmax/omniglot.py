"""The autoencoders of `gumbel-softmax` on Omniglot."""

from pullback.data import omniglot
from pullback.recipes.gumbel_softmax import on_images
from pullback.recipes.gumbel_softmax.mnist import PRESETS as PRESETS
from pullback.recipes.gumbel_softmax.mnist import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """All that is measured, with autoencoders of Omniglot."""
    return on_images(config, context, omniglot(context.data))
