"""Rings of Gaussians, the networks that play on them, and their training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback.analysis.samples import mode_coverage
from pullback.games import AbstractGame, GANGame, GANState, GANStep, fit_gan
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.stack import made, one_by_one, stacked
from pullback.runs import Context
from pullback.train import iterate

MODES = 8
LATENT, WIDTH = 256, 128
# How far from its centre a sample is at a mode, as a share of the ring's radius.
NEAR = 0.15


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Random seeds, all of a kind in one program."""
    steps: int = 8000
    """Steps of each player."""
    batch: int = 128
    """Points of a batch, and samples."""
    unroll: int = 10
    """How many steps of the discriminator are looked ahead."""
    rate: float = 2e-4
    """Learning rate of both players, by Adam. At half of it some seeds are on their way still after
    8,000 steps."""
    quick: float = 1e-3
    """Learning rate of the generator in the setting where nothing is to be cured, of whose
    discriminator it is a tenth."""
    plain_batch: int = 256
    """Points of a batch there."""
    looks: int = 20
    """How often samples are looked at on the way."""
    samples: int = 2500
    """Samples of such a look."""
    game_steps: int = 200
    """Steps of the bilinear game."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, samples=MODES, steps=self.looks)


@dataclass(frozen=True)
class Ring:
    """Eight Gaussians on a circle, no two of them at one place."""

    radius: float
    deviation: float

    @property
    def centres(self) -> Float[np.ndarray, "8 2"]:
        angles = np.linspace(0, 2 * np.pi, MODES, endpoint=False)
        both = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return np.asarray(self.radius * both, np.float32)

    def draw(self, count: int, key: PRNGKeyArray) -> Float[Array, "count 2"]:
        keys = jr.split(key)
        at = jnp.asarray(self.centres)[jr.randint(keys[0], (count,), 0, MODES)]
        return at + self.deviation * jr.normal(keys[1], at.shape)


@dataclass(frozen=True)
class Setting:
    """Networks and how they are trained."""

    ring: Ring
    gain: float
    depth: int
    activation: Any
    scale: float
    generator_rate: float
    discriminator_rate: float
    batch: int


def collapsing(config: Config) -> Setting:
    """A discriminator of one hidden layer, before which a generator falls onto a mode."""
    ring = Ring(2.0, 0.02)
    return Setting(ring, 0.8, 1, jax.nn.relu, 4.0, config.rate, config.rate, config.batch)


def harmless(config: Config) -> Setting:
    """One of two hidden layers, and a generator that is ten times as quick."""
    ring = Ring(1.0, 0.01)
    return Setting(ring, 1.4, 2, jnp.tanh, 1.0, config.quick, config.quick / 10, config.plain_batch)


class Scaled(eqx.Module):
    """A network of its input over a scale."""

    net: eqx.nn.MLP
    scale: float = eqx.field(static=True)

    def __call__(self, x: Float[Array, "2"]) -> Float[Array, ""]:
        return self.net(x / self.scale)


def players(setting: Setting, seed: int) -> tuple[eqx.nn.MLP, Scaled]:
    """A generator and a discriminator with orthogonal weights, and biases as Equinox draws them.

    Without biases the kinks of the discriminator all pass through the middle of the ring.
    """
    keys, rng = jr.split(jr.key(seed)), np.random.default_rng(seed)

    def net(inputs: int, outputs: Any, depth: int, key: PRNGKeyArray) -> eqx.nn.MLP:
        plain = made(eqx.nn.MLP, inputs, outputs, WIDTH, depth, setting.activation, key=key)
        weights = [setting.gain * _directions(at.weight.shape, rng) for at in plain.layers]
        parts = lambda net: [layer.weight for layer in net.layers]
        return eqx.tree_at(parts, plain, [jnp.asarray(w, jnp.float32) for w in weights])

    return net(LATENT, 2, 2, keys[0]), Scaled(
        net(2, "scalar", setting.depth, keys[1]), setting.scale
    )


def _directions(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A matrix whose rows, or columns where there are fewer of those, are an orthonormal set."""
    tall = np.sort(shape)[::-1]
    q, r = np.linalg.qr(rng.normal(size=tall))
    q = q * np.sign(np.diag(r))
    return q if shape[0] >= shape[1] else q.T


def play(
    config: Config, context: Context, name: str, setting: Setting, unroll: int, stop: bool,
    seeds: Sequence[int],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Train all seeds in one program; what their samples covered on the way, and at the end."""
    keys = jax.vmap(jr.key)(jnp.asarray(seeds))
    generators, nets = stacked([players(setting, seed) for seed in seeds])
    # The same transformation in the steps that are looked ahead, which need a root with a slope.
    adam = lambda rate: optax.adam(rate, b1=0.5, eps_root=1e-14)
    game = GANGame(LATENT)
    step = GANStep(
        adam(setting.generator_rate), adam(setting.discriminator_rate), game, unroll=unroll,
        stop_gradient=stop,
    )  # fmt: skip

    def validation(state: GANState, *, key: PRNGKeyArray) -> dict[str, Array]:
        return _covered(samples_of(state.generator, config.samples, key=key), setting.ring)

    every = config.steps // config.looks
    generators, _, info = fit_gan(
        generators, nets, lambda key: setting.ring.draw(setting.batch, key), step,
        steps=config.steps, validation=validation, log_every=every, key=keys,
        **context.training(name),
    )  # fmt: skip
    context.log(info.lines(), way=name)
    measures = ("modes", "kl", "share")
    ends = one_by_one(
        lambda generator: samples_of(generator, config.samples, key=keys[0]), generators
    )
    return {
        "step": info.history["step"],
        **{measure: info.history[f"validation_{measure}"] for measure in measures},
        "samples": np.asarray(ends),
    }


def samples_of(generator: eqx.nn.MLP, count: int, *, key: PRNGKeyArray) -> Float[Array, "n 2"]:
    """Samples of a generator."""
    return jax.vmap(generator)(jr.normal(key, (count, LATENT)))


def _covered(samples: Float[Array, "n 2"], ring: Ring) -> dict[str, Array]:
    found = mode_coverage(samples, ring.centres, radius=NEAR * ring.radius)
    return {"modes": found.covered.astype(samples.dtype), "kl": found.kl, "share": found.share}


class Bilinear(AbstractGame):
    """The product of two numbers, which the one makes large and the other small."""

    def show(self, generator: Array, batch: None, *, key: PRNGKeyArray) -> Array:
        return generator

    def losses(
        self, discriminator: Array, shown: Array, *, key: PRNGKeyArray
    ) -> tuple[Array, Array, Mapping[str, Array]]:
        value = shown * discriminator
        return -value, value, {}


def radius(unroll: int, rate: float, steps: int) -> float:
    """By how much a step of the bilinear game lengthens a point in the end: of simulated play."""
    with jax.enable_x64(True):
        step = GANStep(optax.sgd(rate), optax.sgd(rate), Bilinear(), unroll=unroll)
        begin = eqx.filter_vmap(step.init, out_axes=eqx.if_array(0))
        # Both unit vectors: what becomes of them is a power of the matrix of one step.
        state, _ = iterate(
            step, begin(jnp.asarray([1.0, 0.0]), jnp.asarray([0.0, 1.0])), steps=steps,
            log_every=steps, progress=False, key=jr.split(jr.key(0), 2),
        )  # fmt: skip
        power = np.stack([state.generator, state.discriminator])
    return float(np.max(np.abs(np.linalg.eigvals(power))) ** (1 / steps))


def expected_radius(unroll: int, rate: float) -> float:
    """The same, of the matrix [[1 - 2 K r^2, -r], [r, 1]]."""
    matrix = np.array([[1 - 2 * unroll * rate**2, -rate], [rate, 1]])
    return float(np.max(np.abs(np.linalg.eigvals(matrix))))
