"""The networks of the paper on MNIST, by convolutions."""

from pullback.data import mnist
from pullback.recipes.neural_ode import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on MNIST."""
    return on_images(config, context, mnist(context.data))


PRESETS = {
    # On 7 x 7 pixels nothing is left to convolve.
    "smoke": Config(
        net="conv", channels=4, block=2, examples=64, tested=32, seeds=1, epochs=2, batch_size=32,
        probe=8, studied=1, tolerances=(1e-1, 1e-3),
    ),
    # 14 x 14 pixels, half of the channels, an eighth of the images, few epochs.
    "desk": Config(
        net="conv", channels=32, block=2, examples=8000, tested=5000, seeds=5, epochs=3,
        learning_rate=1e-2, weight_decay=0.01, probe=200, studied=1,
    ),
    # Up to two hours on two cores.
    "long": Config(
        net="conv", channels=32, block=2, examples=30_000, seeds=5, epochs=5, learning_rate=1e-2,
        weight_decay=0.01, crop=1,
    ),
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
}  # fmt: skip
