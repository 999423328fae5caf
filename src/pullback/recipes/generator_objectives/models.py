"""A Gaussian before two modes, with the exact ratio; networks before a ring, with a learned one."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.analysis.samples import mode_coverage
from pullback.games import (
    FDivergence,
    GANGame,
    GANState,
    GANStep,
    fit_gan,
    generator_loss,
    kl,
    minimax,
    non_saturating,
    pearson,
    reverse_kl,
    squared_hellinger,
)
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.stack import made_stack, one_by_one
from pullback.runs import Context
from pullback.train import fit

# The two modes, at plus and minus CENTRE, and where a Gaussian stands before it is fitted: off the
# middle, and nearly in it.
CENTRE, DEVIATION = 2.0, 0.5
FAR, NEAR = 1.0, 0.1
MODES, RADIUS, SPREAD, LATENT = 8, 2.0, 0.1, 16


@dataclass(frozen=True)
class Config:
    steps: int = 4000
    """Steps of the Gaussian."""
    rate: float = 0.01
    """Its learning rate, by Adam."""
    nodes: int = 2000
    """Quantiles of the noise, in place of draws."""
    seeds: int = 3
    """Random seeds of the learned discriminators."""
    game_steps: int = 3000
    """Steps of their generators."""
    discriminator_steps: int = 5
    """Steps of the discriminator for each of those."""
    batch: int = 128
    """Points of a batch, and samples."""
    width: int = 64
    """Hidden units of a layer, of either network."""
    game_rate: float = 1e-3
    """Learning rate of either, by Adam."""
    samples: int = 2500
    """Samples that are looked at."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, nodes=10, samples=MODES)


@dataclass(frozen=True)
class Objective:
    """A loss of the log ratio."""

    name: str
    divergence: FDivergence
    estimator: Any = "exact"
    clip: float | None = None
    self_normalise: bool = False

    def game(self, latent: int) -> GANGame:
        """Of a discriminator that learns."""
        return GANGame(
            latent, self.divergence, self.estimator, clip=self.clip,
            self_normalise=self.self_normalise,
        )  # fmt: skip


KL, REVERSE, PRACTICE = "KL, exact", "reverse KL", "-log D"
MINIMAX, PLUG_IN = "log(1 - D)", "KL, plug-in"
WITH_RATIO = (
    Objective(KL, kl),
    Objective("chi-squared, exact", pearson),
    Objective("Hellinger, exact", squared_hellinger),
    Objective(MINIMAX, minimax, "plug_in"),
    Objective(PRACTICE, non_saturating, "plug_in"),
    Objective(REVERSE, reverse_kl),
    Objective(PLUG_IN, kl, "plug_in"),
)
LEARNED = (
    Objective(KL, kl, clip=5.0),
    Objective(MINIMAX, minimax, "plug_in"),
    Objective(PRACTICE, non_saturating, "plug_in"),
    Objective(REVERSE, reverse_kl),
)


class Gaussian(eqx.Module):
    """Mean and deviation."""

    mean: Float[Array, ""]
    deviation: Float[Array, ""]


def log_density(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """Of the data: two modes of equal weight."""
    of = lambda centre: norm.logpdf(x, centre, DEVIATION)
    return jnp.logaddexp(of(-CENTRE), of(CENTRE)) - float(np.log(2))


class ExactRatioLoss(eqx.Module):
    """The generator's loss with the ratio of densities as it is, frozen as a discriminator's is."""

    objective: Objective = eqx.field(static=True)
    noise: Float[Array, " n"]

    def __call__(
        self, q: Gaussian, batch: None, *, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        del batch, key
        x = q.mean + q.deviation * self.noise
        frozen = jax.lax.stop_gradient(q)
        log_ratio = log_density(x) - norm.logpdf(x, frozen.mean, jnp.abs(frozen.deviation))
        of = self.objective
        loss = generator_loss(log_ratio, of.divergence, estimator=of.estimator, clip=of.clip)
        return loss, {"mean": q.mean, "deviation": q.deviation}


def fit_gaussian(config: Config) -> dict[str, np.ndarray]:
    """By each objective, from both starts: mean and deviation on the way, `[objective, point,
    start]`, and whether it was flagged."""
    noise = jax.scipy.special.ndtri((jnp.arange(config.nodes) + 0.5) / config.nodes)
    noise = jnp.stack([noise, noise])
    starts = Gaussian(jnp.asarray([FAR, NEAR]), jnp.ones(2))
    paths, flagged = [], []
    for objective in WITH_RATIO:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _, info = fit(
                starts, ExactRatioLoss(objective, noise), optimiser=optax.adam(config.rate),
                steps=config.steps, log_every=max(1, config.steps // 200), progress=False,
                key=jr.split(jr.key(0), 2),
            )  # fmt: skip
        flagged.append(any("pushes samples away" in str(each.message) for each in caught))
        paths.append([info.history["mean"], np.abs(info.history["deviation"])])
    found = np.asarray(paths)
    return {"mean": found[:, 0], "deviation": found[:, 1], "flagged": np.asarray(flagged)}


def centres() -> Float[np.ndarray, "8 2"]:
    """Of the ring."""
    angles = np.linspace(0, 2 * np.pi, MODES, endpoint=False)
    return np.asarray(RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1), np.float32)


def _players(width: int, *, key: PRNGKeyArray) -> tuple[eqx.nn.MLP, eqx.nn.MLP]:
    keys = jr.split(key)
    return (
        eqx.nn.MLP(LATENT, 2, width, 2, key=keys[0]),
        eqx.nn.MLP(2, "scalar", width, 2, key=keys[1]),
    )


def play(
    config: Config, context: Context, name: str, objective: Objective, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Train a generator on the ring beside a discriminator that learns; what it covers."""

    def draw(key: PRNGKeyArray) -> Array:
        keys = jr.split(key)
        at = jnp.asarray(centres())[jr.randint(keys[0], (config.batch,), 0, MODES)]
        return at + SPREAD * jr.normal(keys[1], at.shape)

    keys = jax.vmap(jr.key)(jnp.asarray(seeds))
    generators, nets = made_stack(_players, keys, config.width)
    adam = optax.adam(config.game_rate, b1=0.5)
    game = objective.game(LATENT)
    step = GANStep(adam, adam, game, discriminator_steps=config.discriminator_steps)

    def validation(state: GANState, *, key: PRNGKeyArray) -> dict[str, Array]:
        return _covered(samples_of(state.generator, config.samples, key=key))

    generators, _, info = fit_gan(
        generators, nets, draw, step, steps=config.game_steps, validation=validation,
        log_every=max(1, config.game_steps // 20), key=keys, **context.training(name),
    )  # fmt: skip
    context.log(info.lines(), objective=objective.name)
    drawn = one_by_one(lambda net: samples_of(net, config.samples, key=keys[0]), generators)
    last = max(1, len(info.history["step"]) // 4)
    settled = lambda name: np.median(info.history[f"validation_{name}"][-last:], axis=0)
    return {"samples": np.asarray(drawn), **{n: settled(n) for n in ("modes", "kl", "share")}}


def samples_of(generator: eqx.nn.MLP, count: int, *, key: PRNGKeyArray) -> Float[Array, "n 2"]:
    """Samples of a generator."""
    return jax.vmap(generator)(jr.normal(key, (count, LATENT)))


def _covered(samples: Float[Array, "n 2"]) -> dict[str, Array]:
    found = mode_coverage(samples, centres(), radius=3 * SPREAD)
    return {"modes": found.covered.astype(samples.dtype), "kl": found.kl, "share": found.share}
