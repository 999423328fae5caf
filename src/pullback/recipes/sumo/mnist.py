"""Autoencoders of MNIST by SUMO and by bounds of the same expected cost."""

from pullback.bounds import SUMO, AbstractBound, ImportanceWeighted
from pullback.data import mnist
from pullback.recipes._kit.image_vaes import Config, compare_on_images
from pullback.recipes.sumo.measure import TRUNCATION
from pullback.runs import Claim, Context
from pullback.sampling import AbstractEstimator, DoublyReparameterised, PathDerivative


def ways(config: Config) -> dict[str, tuple[AbstractBound, AbstractEstimator]]:
    """A bound of k samples, and SUMO of k expected samples, which takes 6.1 and more."""
    found: dict[str, tuple[AbstractBound, AbstractEstimator]] = {}
    for k in config.samples:
        exact = round(k - float(TRUNCATION.mean()))
        found[f"bound of {k}"] = ImportanceWeighted(k), DoublyReparameterised()
        found[f"SUMO, m = {exact}, as many expected samples as {k}"] = (
            SUMO(TRUNCATION, exact=exact), PathDerivative(allow_bias=True),
        )  # fmt: skip
    return found


def run(config: Config, context: Context) -> list[Claim]:
    """Held-out log-evidence of each way to train."""
    return compare_on_images(config, context, mnist(context.data), ways(config))


PRESETS = {
    "smoke": Config(seeds=2, samples=(6,), steps=100, scored=8),
    "desk": Config(samples=(6, 15)),
    "paper": Config(samples=(6, 15), steps=500_000),
}
