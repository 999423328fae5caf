"""The autoencoders of `gumbel-softmax` on Omniglot."""

from pullback.data import omniglot
from pullback.recipes.gumbel_softmax.autoencoders import Config, on_images
from pullback.recipes.gumbel_softmax.mnist import PRESETS as PRESETS
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train in every way."""
    return on_images(config, context, omniglot(context.data))
