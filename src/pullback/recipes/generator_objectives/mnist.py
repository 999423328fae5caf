"""The losses of `generator-objectives` on MNIST: which digits a generator makes, and which not.

Images fill no volume, and of densities without a common support there is no ratio. So noise is put
on the pixels of data and samples alike: then the logits of a discriminator estimate a ratio, and
each loss descends what it should.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.analysis.samples import density_and_coverage, mode_coverage
from pullback.data import mnist
from pullback.games import (
    GANStep,
    fit_gan,
    kl,
    minimax,
    non_saturating,
    ratio_diagnostics,
    reverse_kl,
)
from pullback.plots import figure, image_sheet
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.digit_kinds import CLASSES, PIXELS, SIDE, small_rows, told_by
from pullback.recipes._kit.players import adam, mlp
from pullback.recipes._kit.stack import made_stack, unstacked
from pullback.recipes.generator_objectives.models import (
    KL,
    MINIMAX,
    PLUG_IN,
    PRACTICE,
    REVERSE,
    Objective,
)
from pullback.runs import Claim, Context

LATENT = 32
CLIP = 10.0
# How far the probabilities of the ten digits are from certain ones, for a sample to count.
NEAR = 0.2
BARE, SHARP = "KL, exact, its weights as they are", "-log D, no noise on pixels"


class Setting(NamedTuple):
    """A loss, and whether there is noise on the pixels."""

    objective: Objective
    noisy: bool = True


COVERING = {
    KL: Setting(Objective(KL, kl, clip=CLIP, self_normalise=True)),
    MINIMAX: Setting(Objective(MINIMAX, minimax, "plug_in")),
    PRACTICE: Setting(Objective(PRACTICE, non_saturating, "plug_in")),
    REVERSE: Setting(Objective(REVERSE, reverse_kl)),
}
FAILING = {
    PLUG_IN: Setting(Objective(PLUG_IN, kl, "plug_in", clip=CLIP, self_normalise=True)),
    BARE: Setting(Objective(BARE, kl, clip=CLIP)),
    SHARP: Setting(Objective(SHARP, non_saturating, "plug_in"), noisy=False),
}

Found = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Random seeds, one after another."""
    steps: int = 4000
    """Steps of both players."""
    batch: int = 64
    """Images of a batch, and samples."""
    width: int = 128
    """Hidden units of a layer, of either network."""
    rate: float = 1e-3
    """Learning rate of either, by Adam, which falls to 0."""
    noise: float = 0.3
    """Standard deviation of the noise on pixels, which are from 0 to 1."""
    samples: int = 2000
    """Samples and test images that are looked at."""
    classifier_steps: int = 3000
    """Steps of the classifier that tells digits."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, samples=CLASSES)


def run(config: Config, context: Context) -> list[Claim]:
    """Train the classifier, then a generator by each loss, and count."""
    split = mnist(context.data)
    train, test = (small_rows(part.x) for part in split)
    test = test[: config.samples]
    seeds = context.seeds(config.seeds)
    tell, accuracy = context.stage("classifier", told_by, split, config.classifier_steps, seeds[0])
    found = {
        name: context.stage(
            f"play-{at}", play, config, context, f"play-{at}", setting, train, test, tell, seeds
        )
        for at, (name, setting) in enumerate({**COVERING, **FAILING}.items())
    }
    of_data = kinds(test, tell)
    _show(context, found)
    looks = ("kinds", "kl", "clear", "coverage", "mean_ratio")
    context.table(
        "kinds",
        ["loss", "kinds of 10", "KL", "clear", "coverage", "mean ratio"],
        [
            *([name, *(float(np.mean(way[of])) for of in looks)] for name, way in found.items()),
            ["test images themselves", *(float(of_data[of]) for of in looks[:3]), "", ""],
        ],
        f"What {config.samples:,} samples of {SIDE} x {SIDE} pixels, without the noise, are, as a "
        f"classifier tells them (right on {accuracy:.1%} of test digits): kinds that at least one "
        "in a hundred clearly is, divergence of the shares of kinds from even ones in nats, and "
        "the share of samples that clearly are some digit; test images near which there is a "
        f"sample; and the mean ratio at samples, 1 where logits are log ratios. Means over "
        f"{config.seeds} seeds.",
    )
    return _claims(config, found, float(accuracy))


def _claims(config: Config, found: Found, accuracy: float) -> list[Claim]:
    start = f"MNIST, a learned ratio, noise of {config.noise:g} on pixels"
    of = lambda names, name: np.stack([found[each][name] for each in names])
    return [
        Claim.over_seeds(
            f"{start}: KL reaches more of the data than reverse KL (share of test images near "
            "which there is a sample, less that of reverse KL)",
            found[KL]["coverage"] - found[REVERSE]["coverage"], at_least=0.02,
            reference=f"0: as much; {found[REVERSE]['coverage'].mean():.2f} by reverse KL; the "
            "paper trades diversity against quality by the loss, and no number of its could be "
            "confirmed",
        ),
        Claim.over_seeds(
            f"{start}: and covers digits more evenly (divergence of shares of kinds from even "
            "ones, nats, less that of reverse KL)",
            found[KL]["kl"] - found[REVERSE]["kl"], at_most=-0.05,
            reference=f"0: as evenly; {found[REVERSE]['kl'].mean():.2f} by reverse KL",
        ),
        Claim.over_seeds(
            f"{start}: KL, log(1 - D), -log D and reverse KL cover most digits (kinds of 10, the "
            "fewest)",
            np.min(of(COVERING, "kinds"), axis=0), at_least=7,
            reference="10; on the two modes of the desk -log D and reverse KL fall on one",
        ),
        Claim.over_seeds(
            f"{start}: plug-in KL, of the same logits, gives one image (kinds of 10)",
            found[PLUG_IN]["kinds"], at_most=1,
            reference=f"{found[KL]['kinds'].mean():.1f} by the exact loss",
        ),
        Claim.over_seeds(
            f"{start}: exact KL learns only where the mean of its weights is kept at 1 (kinds of "
            "10 where it is not)",
            found[BARE]["kinds"], at_most=1,
            reference=f"{found[KL]['kinds'].mean():.1f} where it is",
        ),
        Claim.over_seeds(
            "When not to: without noise images have no ratio of densities, and -log D covers fewer "
            "digits (kinds of 10, with noise less without)",
            found[PRACTICE]["kinds"] - found[SHARP]["kinds"], at_least=2,
            reference=f"0: as many; {found[SHARP]['kinds'].mean():.1f} without",
        ),
        Claim.over_seeds(
            "The logits tell which losses work (mean ratio at samples, the least of those that "
            "cover less the largest of those that do not)",
            np.min(of(COVERING, "mean_ratio"), axis=0) - np.max(of(FAILING, "mean_ratio"), axis=0),
            at_least=0.3, reference="1 where logits are log ratios",
        ),
        Claim(
            "Digits are told rightly, so that kinds can be counted (accuracy on test digits)",
            value=accuracy, at_least=0.95, reference="0.1 by chance",
        ),
    ]  # fmt: skip


class Generator(eqx.Module):
    """An image of the first numbers, and noise on its pixels by the others."""

    net: eqx.nn.Sequential
    noise: float = eqx.field(static=True)

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, " 196"]:
        return self.image(z[:LATENT]) + self.noise * z[LATENT:]

    def image(self, z: Float[Array, " 32"]) -> Float[Array, " 196"]:
        """Without the noise."""
        return jax.nn.sigmoid(self.net(z))


def _players(width: int, noise: float, *, key: PRNGKeyArray) -> tuple[Generator, eqx.nn.Sequential]:
    keys = jr.split(key)
    return (
        Generator(mlp(LATENT, PIXELS, width, 2, keys[0], normalise=True), noise),
        mlp(PIXELS, "scalar", width, 2, keys[1]),
    )


def play(
    config: Config, context: Context, name: str, setting: Setting, train: Array, test: Array,
    tell: eqx.nn.MLP, seeds: Sequence[int],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Train a generator for each seed beside a discriminator that learns; what it makes."""
    objective, noise = setting.objective, config.noise if setting.noisy else 0.0

    def draw(key: PRNGKeyArray) -> Array:
        keys = jr.split(key)
        x = train[jr.randint(keys[0], (config.batch,), 0, len(train))]
        return x + noise * jr.normal(keys[1], x.shape)

    keys = jax.vmap(jr.key)(jnp.asarray(seeds))
    generators, nets = made_stack(_players, keys, config.width, noise)
    optimiser = adam(config.rate, config.steps)
    step = GANStep(optimiser, optimiser, objective.game(LATENT + PIXELS))
    generators, nets, info = fit_gan(
        generators, nets, draw, step, steps=config.steps, log_every=max(1, config.steps // 20),
        sequential=True, key=keys, **context.training(name),
    )  # fmt: skip
    context.log(info.lines(), objective=objective.name)
    rows = [
        looked_at(generator, net, test, tell, key=key)
        for generator, net, key in zip(unstacked(generators), unstacked(nets), keys, strict=True)
    ]
    return {of: np.stack([row[of] for row in rows]) for of in rows[0]}


def looked_at(
    generator: Generator, net: eqx.nn.Sequential, test: Float[Array, "n 196"], tell: eqx.nn.MLP,
    *, key: PRNGKeyArray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """As many samples as test images: what they are, and what the discriminator says."""
    keys = jr.split(key)
    z = jr.normal(keys[0], (len(test), LATENT + PIXELS))
    made = jax.vmap(generator.image)(z[:, :LATENT])
    noisy = test + generator.noise * jr.normal(keys[1], test.shape)
    ratio = ratio_diagnostics(jax.vmap(net)(noisy), jax.vmap(net)(jax.vmap(generator)(z)))
    return {
        **kinds(made, tell),
        "coverage": np.asarray(density_and_coverage(test, made).coverage),
        "mean_ratio": np.asarray(ratio.mean_ratio),
        "samples": np.asarray(made[: 2 * CLASSES]),
    }


def kinds(images: Float[Array, "n 196"], tell: eqx.nn.MLP) -> dict[str, np.ndarray]:
    """Of images that clearly are a digit: how many kinds, how even their shares, how many."""
    probs = jax.nn.softmax(jax.vmap(tell)(images))
    found = mode_coverage(probs, np.eye(CLASSES), radius=NEAR)
    names = {"kinds": found.covered, "kl": found.kl, "clear": found.share}
    return {name: np.asarray(value, float) for name, value in names.items()}


def _show(context: Context, found: Found) -> None:
    fig, axes = figure(len(found), 1, width=9.0, height=0.8 * len(found))
    for ax, (name, way) in zip(np.reshape(axes, -1), found.items(), strict=True):
        image_sheet(ax, way["samples"][0].reshape(1, -1, SIDE, SIDE), title=name)
    context.figure(
        "samples",
        fig,
        "Samples of the first seed by each loss, without the noise on their pixels. The last three "
        "rows are those that do not work.",
    )


PRESETS = {
    "smoke": Config(
        seeds=1, steps=4, batch=8, width=8, samples=20, classifier_steps=10,
    ),
    "desk": Config(),
    "paper": Config(seeds=5, steps=100_000, width=1024),
}  # fmt: skip
