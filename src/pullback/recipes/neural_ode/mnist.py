"""The networks of the paper on MNIST.

Convolutions see whole images; else blocks of 4 x 4 are averaged, which is how the 8 x 8 digits were
made.
"""

from pullback.data import mnist
from pullback.recipes._kit.images import in_blocks
from pullback.recipes.neural_ode import PRESETS as DIGITS
from pullback.recipes.neural_ode import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on MNIST."""
    data = mnist(context.data)
    return on_images(config, context, data if config.net == "conv" else in_blocks(data, 4))


PRESETS = {
    **DIGITS,
    "paper": Config(
        net="conv",
        examples=0,
        seeds=3,
        epochs=160,
        optimiser="sgd",
        learning_rate=0.1,
        crop=4,
        probe=512,
    ),
}
