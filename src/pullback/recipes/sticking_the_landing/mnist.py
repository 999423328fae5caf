"""Autoencoders of MNIST, trained with each gradient."""

from dataclasses import dataclass

from pullback.data import Split, mnist
from pullback.recipes._kit.image_vaes import Protocol, compare_on_images
from pullback.recipes.sticking_the_landing.measure import ESTIMATORS
from pullback.runs import Claim, Context
from pullback.sampling import DoublyReparameterised


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many autoencoders are trained with each gradient."""
    steps: int = 20_000
    """Training steps of each."""
    learning_rate: float = 1e-3
    """Adam's at the start; it falls to zero along a cosine."""
    samples: int = 5
    """Importance samples of the weighted bounds."""
    scored: int = 1000
    """Held-out images that are scored."""

    def __post_init__(self):
        for name in ("seeds", "steps", "scored", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def run(config: Config, context: Context) -> list[Claim]:
    """The same of MNIST."""
    return on_images(config, context, mnist(context.data), "mnist")


def on_images(config: Config, context: Context, images: Split, name: str) -> list[Claim]:
    """Held-out log-evidence of each way to train."""
    protocol = Protocol(
        images=name,
        steps=config.steps,
        learning_rate=config.learning_rate,
        latent=50,
        width=200,
        scored=config.scored,
    )
    k = config.samples
    ways = {
        "ELBO, total derivative": ("elbo", ESTIMATORS["total"]),
        "ELBO, path derivative": ("elbo", ESTIMATORS["path"]),
        f"weighted bound of {k}, total derivative": (k, ESTIMATORS["total"]),
        f"weighted bound of {k}, doubly reparameterised": (k, DoublyReparameterised()),
    }
    seeds = context.seeds(config.seeds)
    return compare_on_images(context, protocol, images, ways, seeds=seeds)


PRESETS = {
    "smoke": Config(seeds=2, scored=8, steps=100),
    "desk": Config(),
    "paper": Config(steps=500_000),
}
