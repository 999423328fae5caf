"""The models of the paper on dSprites, thinned and averaged in blocks of pixels."""

import dataclasses
from dataclasses import dataclass

from pullback.data import dsprites
from pullback.recipes import beta_tcvae
from pullback.recipes._kit.checks import check_least
from pullback.runs import Claim, Context


@dataclass(frozen=True)
class Config(beta_tcvae.Config):
    shrink: int = 4
    """The side of the blocks of pixels that are averaged."""
    thin: int = 4
    """One of so many orientations, and of so many places along each side, is kept."""

    def __post_init__(self):
        super().__post_init__()
        check_least(self, thin=1)


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on dSprites."""
    keep = {
        name: range(0, count, config.thin)
        for name, count in (("orientation", 40), ("x", 32), ("y", 32))
    }
    shapes = dsprites(context.data, shrink=config.shrink, keep=keep)
    return beta_tcvae.on_shapes(config, context, shapes)


PRESETS = {
    "smoke": Config(**dataclasses.asdict(beta_tcvae.PRESETS["smoke"]), thin=16),
    "desk": Config(),
    "paper": Config(
        seeds=8, betas=(2.0, 6.0), latent=10, width=1200, steps=18_000, warm_up=7000,
        batch_size=2048, learning_rate=1e-3, table_rows=256, samples=10_000, shrink=1, thin=1,
    ),
}  # fmt: skip
