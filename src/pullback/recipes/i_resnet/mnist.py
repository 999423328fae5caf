"""The networks of `i-resnet` on MNIST, with convolutions."""

from pullback.data import mnist
from pullback.recipes.i_resnet import PRESETS as DIGITS
from pullback.recipes.i_resnet import Config, on_images
from pullback.recipes.i_resnet.models import squeezed
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train, invert and measure on MNIST."""
    return on_images(config, context, squeezed(mnist(context.data)), "MNIST")


PRESETS = {
    **DIGITS,
    "paper": Config(
        seeds=5, bounds=(0.9, 0.7, 0.5), blocks=18, width=512, steps=40_000, flow_blocks=100,
        flow_width=128, flow_steps=50_000, points=20_000, grid=400,
    ),
}  # fmt: skip
