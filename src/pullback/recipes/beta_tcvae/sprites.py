"""Shapes of dSprites' kind, drawn: three kinds, and four factors of each.

The desk has 32 x 32 pixels and little training; `long` has dSprites' 64 x 64.
"""

import dataclasses
from dataclasses import dataclass

from pullback.data import drawn_shapes
from pullback.recipes import beta_tcvae
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(beta_tcvae.Config):
    resolution: int = 64
    """Pixels across and down."""
    scales: int = 6
    """How many sizes; dSprites has 6."""
    orientations: int = 8
    """How many angles; dSprites has 40."""
    places: int = 8
    """How many places across, and down; dSprites has 32."""


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on a square, an ellipse and a heart."""
    shapes = drawn_shapes(
        scales=config.scales, orientations=config.orientations, places=config.places,
        resolution=config.resolution,
    )  # fmt: skip
    return beta_tcvae.on_shapes(config, context, shapes)


PRESETS = {
    "smoke": Config(
        **dataclasses.asdict(beta_tcvae.PRESETS["smoke"]), resolution=8, scales=2, orientations=2,
        places=3,
    ),
    "desk": Config(
        seeds=4, betas=(6.0,), latent=10, steps=1500, warm_up=500, samples=1000, batches=20,
        resolution=32, scales=3, places=5,
    ),
    "long": Config(
        seeds=8, betas=(6.0,), latent=10, width=256, steps=2500, batch_size=100,
        learning_rate=1e-3, table_rows=50, samples=1000, batches=20,
    ),
}  # fmt: skip
