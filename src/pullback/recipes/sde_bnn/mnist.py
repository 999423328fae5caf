"""The networks of the paper on MNIST: convolutions, or on images averaged in blocks of 2 x 2."""

import numpy as np

from pullback.data import Labelled, Split, mnist
from pullback.recipes.sde_bnn import classifiers
from pullback.recipes.sde_bnn.classifiers import Config
from pullback.runs import Claim, Context


def run(config: Config, context: Context) -> list[Claim]:
    """Train and measure on MNIST."""
    data = mnist(context.data)
    return classifiers.run(config, context, lambda seed: images(config, data, seed))


def images(config: Config, data: Split, seed: int) -> Split:
    """Some to train on, drawn anew for each seed, and the test set."""
    train, test = data
    rows = np.random.default_rng(seed).permutation(len(train.x))[: config.examples]
    few = Labelled(train.x[rows], train.y[rows])
    if config.net == "conv":
        return Split(few, test)
    return Split(*(Labelled(_blocks_of_two(part.x), part.y) for part in (few, test)))


def _blocks_of_two(images: np.ndarray) -> np.ndarray:
    n, height, width = images.shape
    return images.reshape(n, height // 2, 2, width // 2, 2).mean(axis=(2, 4))


PRESETS = {
    "smoke": Config(seeds=1, sigmas=(0.3,), members=2, iterations=10),
    "desk": Config(examples=3000),
    "paper": Config(
        net="conv",
        examples=60000,
        sigmas=(0.1, 0.2),
        sigma=0.2,
        kappa=1e-3,
        iterations=46900,
        batch_size=128,
        learning_rate=1e-3,
        dim=32,
    ),
}
