"""Autoencoders of MNIST in the plane of rate and distortion."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from pullback.data import Split, mnist
from pullback.recipes._kit.image_vaes import grey_rows
from pullback.recipes.rate_distortion import autoencoders, claims, draw_autoencoders, models
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config:
    seeds: int = 1
    """How many models are trained for each objective."""
    betas: tuple[float, ...] = (0.1, 0.3, 1.0, 2.0, 4.0)
    """Weights of the rate, rising; 1 is among them."""
    rates: tuple[float, ...] = (6.0, 10.0)
    """Target rates, in nats, rising."""
    steps: int = 3000
    """Steps of the autoencoders with independent pixels."""
    pixel_steps: int = 600
    """Steps of those with an autoregressive decoder."""

    def __post_init__(self):
        for name in ("seeds", "steps", "pixel_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("betas", "rates"):
            rising = getattr(self, name)
            if len(rising) < 2 or sorted(set(rising)) != [*rising] or rising[0] <= 0:
                raise ValueError(f"{name} must be two or more above 0, rising, got {rising}")
        if 1.0 not in self.betas:
            raise ValueError(f"betas must have 1 in them, the ELBO, got {self.betas}")


def run(config: Config, context: Context) -> list[Claim]:
    """The same of MNIST."""
    return on_images(config, context, mnist(context.data), "mnist")


def on_images(config: Config, context: Context, images: Split, name: str) -> list[Claim]:
    """Autoencoders with a plain and with an autoregressive decoder."""
    seeds = context.seeds(config.seeds)
    train, test = (x.reshape(-1, 1, 28, 28) for x in grey_rows(images))
    rows = np.random.default_rng(0).permutation(len(test))[:1000]
    # Binarised once and for all, so that all models are scored on the same images.
    level = np.random.default_rng(1).uniform(size=(len(rows), 1, 28, 28))
    test = jnp.asarray(level < np.asarray(test[rows]), float)
    sizes = models.Sizes(
        (1, 28, 28), latent=32, width=200, channels=12, depth=2, batch_size=50,
        steps={"independent pixels": config.steps, "PixelCNN": config.pixel_steps},
        learning_rate=1e-3, scored=len(test),
    )  # fmt: skip
    found = autoencoders(config.betas, config.rates, context, sizes, train, test, seeds)
    draw_autoencoders(config.betas, context, found, test, f"binary {name}")
    return claims.of_autoencoders(found, config.betas, config.rates, slack=5.0)


PRESETS = {
    "smoke": Config(betas=(0.3, 1.0), rates=(2.0, 5.0), steps=2, pixel_steps=2),
    "desk": Config(),
    "paper": Config(
        seeds=3,
        betas=(0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
        steps=100_000,
        pixel_steps=100_000,
    ),
}
