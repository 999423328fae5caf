"""The autoencoders of `gumbel-softmax` on MNIST."""

from pullback.data import mnist
from pullback.recipes.gumbel_softmax import PRESETS as DIGITS
from pullback.recipes.gumbel_softmax import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """All that is measured, with autoencoders of MNIST."""
    return on_images(config, context, mnist(context.data))


PRESETS = {
    **DIGITS,
    "paper": Config(
        width=200, iterations=500_000, learning_rate=1e-3, rate=1e-5, every=1000,
        cost_batch=100, images=60_000,
    ),
}  # fmt: skip
