"""The autoencoders of `mnist.py`, of Omniglot."""

from pullback.data import omniglot
from pullback.recipes._kit.paired_vaes import Config, held_out_scores
from pullback.recipes.sticking_the_landing.mnist import PRESETS as PRESETS
from pullback.recipes.sticking_the_landing.mnist import claims, ways
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Held-out likelihood with and without the score's part of the gradient."""
    return claims(config, held_out_scores(config, context, omniglot(context.data), ways(config)))
