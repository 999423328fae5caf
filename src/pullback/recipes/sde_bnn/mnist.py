"""The comparison of `sde-bnn` on MNIST: on images averaged in blocks of 2 x 2, or on whole ones."""

import dataclasses

from pullback.data import Labelled, Split, mnist
from pullback.recipes._kit.images import averaged
from pullback.recipes.sde_bnn import classifiers
from pullback.recipes.sde_bnn.classifiers import Config, Images
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on MNIST."""
    data = mnist(context.data)
    return classifiers.run(
        config, context, lambda seed: images(config, data, seed), gains=(1.0, 1.0)
    )


def images(config: Config, data: Split, seed: int) -> Images:
    """Some to train on and to choose by, drawn anew for each seed, and the test set."""
    shown = lambda part: part if config.net == "conv" else Labelled(averaged(part.x, 2), part.y)
    train, test = map(shown, data)
    return *classifiers.drawn(config, train, seed), test


_LONG = Config(
    net="conv", examples=10000, held_out=1000, sigmas=(0.1, 0.3), stds=(0.03, 0.1),
    rates=(0.1, 0.2), iterations=1200, members=3, solver_steps=10, paths=10,
)  # fmt: skip

PRESETS = {
    "smoke": Config(
        seeds=1, sigmas=(0.3,), stds=(0.3,), rates=(0.2,), held_out=50, members=2, iterations=10,
        solver_steps=4, paths=2,
    ),
    "desk": Config(examples=3000, held_out=1000, rates=(0.1, 0.2), paths=16),
    "long": _LONG,
    "paper": dataclasses.replace(
        _LONG, examples=55000, held_out=5000, sigmas=(0.1, 0.2), kappa=1e-3, iterations=43000,
        batch_size=128, learning_rate=1e-3, dim=32, members=5, solver_steps=20, paths=32,
    ),
}  # fmt: skip
