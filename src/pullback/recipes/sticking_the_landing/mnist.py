"""Autoencoders of MNIST, trained with each gradient."""

from pullback.bounds import ELBO, AbstractBound, ImportanceWeighted
from pullback.data import mnist
from pullback.recipes._kit.image_vaes import Config, compare_on_images
from pullback.runs import Claim, Context
from pullback.sampling import (
    AbstractEstimator,
    DoublyReparameterised,
    PathDerivative,
    Reparameterised,
)


def ways(config: Config) -> dict[str, tuple[AbstractBound, AbstractEstimator]]:
    """The ELBO and weighted bounds, each with the total derivative and with its own."""
    weighted = {
        f"weighted bound of {k}, {name}": (ImportanceWeighted(k), estimator)
        for k in config.samples
        for name, estimator in (
            ("total derivative", Reparameterised()),
            ("doubly reparameterised", DoublyReparameterised()),
        )
    }
    return {
        "ELBO, total derivative": (ELBO(), Reparameterised()),
        "ELBO, path derivative": (ELBO(), PathDerivative()),
        **weighted,
    }


def run(config: Config, context: Context) -> list[Claim]:
    """Held-out log-evidence of each way to train."""
    return compare_on_images(config, context, mnist(context.data), ways(config))


PRESETS = {
    "smoke": Config(seeds=2, samples=(5,), steps=100, scored=8),
    "desk": Config(samples=(5,)),
    "paper": Config(samples=(5,), steps=500_000),
}
