"""The autoencoders of `gumbel-softmax` on MNIST."""

from pullback.data import mnist
from pullback.recipes.gumbel_softmax.autoencoders import Config, on_images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train in every way."""
    return on_images(config, context, mnist(context.data))


PRESETS = {
    "smoke": Config(
        seeds=2, ways=("score", "gumbel"), latents=(3, 4), width=8, iterations=20, batch_size=8,
        images=40,
    ),
    "desk": Config(iterations=600),
    "long": Config(
        seeds=2, latents=(20, 10), width=200, iterations=4000, batch_size=100, images=60_000,
        learning_rates=(1e-3, 3e-3), rate=5e-4,
    ),
    "paper": Config(
        latents=(20, 10), width=200, iterations=500_000, batch_size=100, images=60_000,
        learning_rates=(3e-4, 1e-3, 3e-3), rate=1e-5, every=1000,
    ),
}  # fmt: skip
