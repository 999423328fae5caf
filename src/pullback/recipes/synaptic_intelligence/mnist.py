"""The tasks of `synaptic-intelligence` on MNIST."""

from pullback.data import mnist
from pullback.recipes.synaptic_intelligence import PRESETS as DIGITS
from pullback.recipes.synaptic_intelligence import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Learn permutations of MNIST, and its classes one after another."""
    return on_images(config, context, mnist(context.data))


PRESETS = {
    "smoke": DIGITS["smoke"],
    # The paper has 60,000 images, 2000 units, 20 epochs of batches of 256, an Adam that goes on,
    # and chose 0.1 and 0.1. Of elastic weights the strength is that of the smaller setting.
    "desk": Config(
        seeds=2, tasks=10, train=10_000, test=2000, epochs=5, batch_size=100, strength=0.1,
        elastic=30.0, looked_at=1000,
    ),
    "paper": Config(
        seeds=3, tasks=10, train=60_000, test=10_000, width=2000, epochs=20, batch_size=256,
        anew=False, strength=0.1, damping=0.1, elastic=30.0, looked_at=5000,
    ),
}  # fmt: skip
