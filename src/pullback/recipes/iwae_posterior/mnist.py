"""Autoencoders of MNIST, trained with bounds of more and more samples."""

from pullback.bounds import AbstractBound, ImportanceWeighted
from pullback.data import mnist
from pullback.recipes._kit.image_vaes import Config, compare_on_images
from pullback.runs import Claim, Context
from pullback.sampling import AbstractEstimator, DoublyReparameterised


def ways(config: Config) -> dict[str, tuple[AbstractBound, AbstractEstimator]]:
    """Bounds of more and more samples, each with the gradient that suits it."""
    return {f"k = {k}": (ImportanceWeighted(k), DoublyReparameterised()) for k in config.samples}


def run(config: Config, context: Context) -> list[Claim]:
    """Held-out log-evidence of each way to train."""
    return compare_on_images(config, context, mnist(context.data), ways(config))


PRESETS = {
    "smoke": Config(seeds=2, samples=(1, 5), steps=100, scored=8),
    "desk": Config(samples=(1, 5), steps=2000, scored=300),
    "long": Config(samples=(1, 5), steps=10_000),
    "paper": Config(samples=(1, 5, 50), steps=500_000),
}
