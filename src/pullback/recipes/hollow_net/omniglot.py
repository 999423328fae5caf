"""The same autoencoders, of Omniglot."""

from pullback.data import omniglot
from pullback.recipes.hollow_net.mnist import PRESETS as PRESETS
from pullback.recipes.hollow_net.mnist import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """The same of Omniglot."""
    return on_images(config, context, omniglot(context.data))
