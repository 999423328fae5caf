"""Autoencoders of MNIST, trained with bounds of more and more samples."""

from dataclasses import dataclass

from pullback.data import Split, mnist
from pullback.recipes._kit.image_vaes import Protocol, compare_on_images
from pullback.runs import Claim, Context
from pullback.sampling import DoublyReparameterised


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """How many models are trained with each number of samples."""
    trained: tuple[int, ...] = (1, 5, 50)
    """Numbers of samples that the models are trained with, rising."""
    steps: int = 20_000
    """Training steps of each autoencoder."""
    learning_rate: float = 1e-3
    """Adam's at the start; it falls to zero along a cosine."""
    scored: int = 1000
    """Held-out images that are scored."""

    def __post_init__(self):
        for name in ("seeds", "steps", "scored"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        rising = self.trained
        if len(rising) < 2 or sorted(set(rising)) != [*rising] or rising[0] < 1:
            raise ValueError(f"trained must be two or more, rising from 1 on, got {rising}")


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
    ways = {f"k = {k}": (k, DoublyReparameterised()) for k in config.trained}
    seeds = context.seeds(config.seeds)
    return compare_on_images(context, protocol, images, ways, seeds=seeds)


PRESETS = {
    "smoke": Config(seeds=2, scored=8, trained=(1, 5), steps=100),
    "desk": Config(),
    "paper": Config(steps=500_000),
}
