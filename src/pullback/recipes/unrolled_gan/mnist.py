"""Three MNIST digits stacked as the channels of one image: how many of 1,000 modes are covered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback.analysis.samples import latent_recovery
from pullback.data import mnist
from pullback.games import GANGame, GANStep, fit_gan
from pullback.plots import PALETTE, figure, image_sheet
from pullback.recipes._kit.checks import check_above_zero, check_rising
from pullback.recipes._kit.digit_kinds import CLASSES, PIXELS, SIDE, small_rows, told_by
from pullback.recipes._kit.stack import made_stack, unstacked
from pullback.runs import Claim, Context, Headline

CHANNELS, LATENT = 3, 64


@dataclass(frozen=True)
class Config:
    seeds: int = 2
    """Random seeds, one after another."""
    unrolls: tuple[int, ...] = (0, 5)
    """How many steps of the discriminator are looked ahead, rising."""
    steps: int = 3000
    """Steps of each player."""
    batch: int = 64
    """Images of a batch, and samples."""
    width: int = 256
    """Hidden units of a layer of the generator; the discriminator's have a quarter."""
    rate: float = 2e-4
    """Learning rate of both players, by Adam."""
    samples: int = 25_600
    """Samples whose digits are told."""
    targets: int = 64
    """Test images that generators are asked to make."""
    classifier_steps: int = 2000
    """Steps of the classifier that tells digits."""

    def __post_init__(self):
        check_above_zero(self, but=("unrolls",))
        check_rising(self, "unrolls", count=2, least=0)


def run(config: Config, context: Context) -> list[Claim]:
    """Train the classifier, then a generator at each K, and count."""
    split = mnist(context.data)
    train, test = (small_rows(part.x) for part in split)
    seeds = context.seeds(config.seeds)
    tell, accuracy = context.stage("classifier", told_by, split, config.classifier_steps, seeds[0])
    found = {
        k: context.stage(f"play-{k}", play, config, context, k, train, test, tell, seeds)
        for k in config.unrolls
    }
    _show(context, found)
    context.table(
        "modes",
        ["K", "modes of 1,000", "KL from the data", "recovery"],
        [
            [str(k), *(float(np.mean(way[name])) for name in ("modes", "kl", "recovery"))]
            for k, way in found.items()
        ],
        f"Three digits of {SIDE} x {SIDE} pixels as one image: kinds among {config.samples:,} "
        f"samples as a classifier tells them (right on {accuracy:.1%} of test digits), the "
        "divergence of their shares from those of the data in nats, and the mean square that is "
        f"left when {config.targets} test images are searched for by BFGS; means over "
        f"{config.seeds} seeds.",
    )
    return _claims(config, found, float(accuracy))


def _claims(
    config: Config, found: Mapping[int, Mapping[str, np.ndarray]], accuracy: float
) -> list[Claim]:
    first, last = found[config.unrolls[0]], found[config.unrolls[-1]]
    low, high = config.unrolls[0], config.unrolls[-1]
    start = "Three stacked digits, a discriminator of a quarter of the generator's width"
    return [
        Claim.over_seeds(
            f"{start}: K = {high} covers more kinds than K = {low} (ratio of kinds)",
            last["modes"] / first["modes"], at_least=1.2,
            reference=f"1: as many; {first['modes'].mean():.0f} of 1,000 at K = {low}",
            headline=Headline(no_effect=1.0),
        ),
        Claim.over_seeds(
            f"{start}: and nearer to the data's shares (KL at K = {high} less that at K = {low}, "
            "nats)",
            last["kl"] - first["kl"], at_most=-0.1, reference="0: no nearer",
        ),
        Claim.over_seeds(
            f"{start}: test images are recovered better (mean square, over that at K = {low})",
            last["recovery"] / first["recovery"], at_most=1.0,
            reference="CIFAR-10, K = 5 over K = 0: 0.0200 / 0.0231 = 0.87, in the paper's table",
            headline=Headline(no_effect=1.0, paper=0.866),
        ),
        Claim(
            "Digits are told rightly, so that kinds can be counted (accuracy on test digits)",
            value=accuracy, at_least=0.95, reference="0.1 by chance",
        ),
    ]  # fmt: skip


def _players(width: int, *, key: PRNGKeyArray) -> tuple[eqx.nn.MLP, eqx.nn.MLP]:
    keys, pixels = jr.split(key), CHANNELS * PIXELS
    return (
        eqx.nn.MLP(LATENT, pixels, width, 2, final_activation=jax.nn.sigmoid, key=keys[0]),
        eqx.nn.MLP(pixels, "scalar", max(1, width // 4), 1, key=keys[1]),
    )


def stacks(images: Float[Array, "n 196"], count: int, key: PRNGKeyArray) -> Array:
    """Three images drawn of all, side by side, `[count, 588]`."""
    at = jr.randint(key, (count, CHANNELS), 0, len(images))
    return images[at].reshape(count, -1)


def play(
    config: Config, context: Context, unroll: int, train: Array, test: Array, tell: eqx.nn.MLP,
    seeds: Sequence[int],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Train a generator for each seed, and count what it makes."""
    keys = jax.vmap(jr.key)(jnp.asarray(seeds))
    generators, nets = made_stack(_players, keys, config.width)
    adam = optax.adam(config.rate, b1=0.5, eps_root=1e-14)
    step = GANStep(adam, adam, GANGame(LATENT), unroll=unroll)
    generators, _, info = fit_gan(
        generators, nets, lambda key: stacks(train, config.batch, key), step, steps=config.steps,
        log_every=max(1, config.steps // 20), sequential=True, key=keys,
        **context.training(f"play-{unroll}"),
    )  # fmt: skip
    context.log(info.lines(), unroll=unroll)
    targets = stacks(test, config.targets, jr.key(0))
    of_data = _counts(tell, stacks(test, config.samples, jr.key(1)))
    rows = []
    for generator, key in zip(unstacked(generators), keys, strict=True):
        made = jax.vmap(generator)(jr.normal(key, (config.samples, LATENT)))
        recovered = latent_recovery(generator, targets, LATENT, batch_size=32, key=key)
        of = _counts(tell, made)
        rows.append({
            "modes": np.sum(of > 0),
            "kl": _divergence(of, of_data),
            "recovery": np.mean(recovered.errors),
            "samples": np.asarray(made[:CLASSES]),
        })  # fmt: skip
    return {name: np.stack([np.asarray(row[name], float) for row in rows]) for name in rows[0]}


def _counts(tell: eqx.nn.MLP, images: Float[Array, "n 588"]) -> Int[np.ndarray, "1000"]:
    """Of each kind, as a classifier tells it."""
    digits = jnp.argmax(jax.vmap(tell)(images.reshape(-1, PIXELS)), axis=1).reshape(-1, CHANNELS)
    kind = np.asarray(digits) @ (CLASSES ** np.arange(CHANNELS))
    return np.bincount(kind, minlength=CLASSES**CHANNELS)


def _divergence(of: np.ndarray, of_data: np.ndarray) -> float:
    """From the data's shares, of which each kind has half an image more than was counted."""
    p, q = of / of.sum(), (of_data + 0.5) / (of_data + 0.5).sum()
    return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


def _show(context: Context, found: Mapping[int, Mapping[str, np.ndarray]]) -> None:
    fig, axes = figure(len(found), 2, width=9.0, height=1.6 * len(found))
    axes = np.reshape(axes, (len(found), 2))
    for row, (k, way) in zip(axes, found.items(), strict=True):
        images = way["samples"][0].reshape(-1, CHANNELS, SIDE, SIDE)
        image_sheet(row[0], np.moveaxis(images, 1, -1)[None], title=f"K = {k}")
        names = [str(seed) for seed in range(len(way["modes"]))]
        row[1].bar(names, way["modes"], color=PALETTE[0])
        row[1].set(ylabel="kinds", ylim=(0, 1000), xlabel="seed")
    context.figure(
        "samples",
        fig,
        "Samples of the first seed, with a digit in each colour, and the kinds of 1,000 that are "
        "among the samples of each seed.",
    )


PRESETS = {
    "smoke": Config(
        seeds=1, unrolls=(0, 1), steps=4, batch=8, width=8, samples=64, targets=2,
        classifier_steps=10,
    ),
    "desk": Config(seeds=3),
    "paper": Config(seeds=5, unrolls=(0, 1, 5, 10), steps=50_000, width=1024),
}  # fmt: skip
