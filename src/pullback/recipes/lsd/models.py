"""What the recipe `lsd` trains: sources behind mixtures, and a density in the plane."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float

from pullback.analysis import grid_mass
from pullback.data import standardise, two_moons
from pullback.models.energy import (
    LinearICA,
    ScoreMatchingLoss,
    TiltedGaussian,
    fit_stein,
    random_unmixing,
)
from pullback.recipes._kit.checks import check_above_zero, check_least
from pullback.recipes._kit.stack import one_by_one
from pullback.runs import Context
from pullback.train import fit

_TEST = 5000  # rows that likelihoods are measured on
EXTENT = 4.0  # half the side of the square on which the density in the plane is summed


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Models of each kind, from starts of their own."""
    sources: int = 8
    """Sources of independent component analysis."""
    rows: int = 10_000
    """Rows that the models of independent components are trained on."""
    steps: int = 2000
    """Steps of a model; its critic takes five times as many."""
    batch_size: int = 128
    """Rows a step."""
    width: int = 64
    """Size of the hidden layers of critics."""
    learning_rate: float = 1e-2
    """Adam's learning rate for the models of sources; it falls to nothing."""
    plane_steps: int = 2000
    """Steps of the density in the plane."""
    repeats: int = 16
    """Data sets that each test of fit is given."""
    points: int = 1000
    """Points in a data set."""
    test_steps: int = 400
    """Steps of training of a test's critic."""
    machine_repeats: int = 8
    """Data sets of the Boltzmann machine that the tests are given."""
    gibbs: int = 500
    """Steps of the Boltzmann machine's chains."""

    def __post_init__(self):
        check_above_zero(self)
        check_least(self, points=100)


def train_ica(config: Config, context: Context, seed: int) -> dict[str, Any]:
    """The nats of unseen rows by each method, `[seeds]`, and what a ranking takes from here."""
    truth_key, data_key, start_key, *keys = jr.split(jr.key(seed), 6)
    truth = LinearICA(random_unmixing(config.sources, key=truth_key))
    rows = truth.sample(data_key, (config.rows + _TEST,))
    x, test = rows[: config.rows], rows[config.rows :]
    random = lambda key: random_unmixing(config.sources, key=key)
    start = LinearICA(jax.vmap(random)(jr.split(start_key, config.seeds)))
    # A rate that falls to nothing, so that the end is not a matter of the last batches.
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)

    def likelihood(model: LinearICA, batch: Array, *, key: Array) -> tuple[Array, dict]:
        return -jnp.mean(jax.vmap(model.log_prob)(batch)), {}

    found = {"start": start}
    losses = {"maximum likelihood": likelihood, "score matching": ScoreMatchingLoss()}
    for (name, loss), key in zip(losses.items(), keys, strict=False):
        found[name], _ = fit(
            start, loss, x, optimiser=optax.adam(rate), steps=config.steps,
            batch_size=config.batch_size, progress=context.progress,
            key=jr.split(key, config.seeds),
        )  # fmt: skip
    found["LSD"], _ = fit_stein(
        start, x, width=config.width, steps=config.steps, batch_size=config.batch_size,
        learning_rate=rate, progress=context.progress,
        log_every=max(1, config.steps // 10), key=jr.split(keys[2], config.seeds),
    )  # fmt: skip
    found["truth"] = jax.tree.map(lambda leaf: leaf[None], truth)
    return {
        "truth": truth,
        "test": test,
        "nats": {name: one_by_one(_nats, models, test) for name, models in found.items()},
    }


def _nats(model: Any, x: Float[Array, "n dim"]) -> Float[Array, ""]:
    return -jnp.mean(jax.vmap(model.log_prob)(x))


def train_plane(config: Config, context: Context, seed: int) -> dict[str, Any]:
    """Densities of two moons by LSD: normalised on a grid, and the nats of unseen points."""
    x = two_moons(config.rows + _TEST, noise=0.12, seed=seed).x
    (x, test), _ = standardise(x[: config.rows], x[config.rows :])
    x, test = jnp.asarray(x, float), jnp.asarray(test, float)
    model_key, key = jr.split(jr.key(seed))

    def untrained(key: Array) -> TiltedGaussian:
        net = eqx.nn.MLP(2, "scalar", 64, 2, jax.nn.swish, key=key)
        return TiltedGaussian.fitted(net, x)

    models, _ = fit_stein(
        eqx.filter_vmap(untrained)(jr.split(model_key, config.seeds)), x, width=config.width,
        steps=config.plane_steps, batch_size=config.batch_size,
        learning_rate=optax.cosine_decay_schedule(2e-3, config.plane_steps), l2=1.0,
        progress=context.progress, log_every=max(1, config.plane_steps // 10),
        key=jr.split(key, config.seeds),
    )  # fmt: skip
    return {**one_by_one(_in_plane, models, test), "test": test}


def _in_plane(model: TiltedGaussian, test: Float[Array, "n 2"]) -> dict[str, Array]:
    found = grid_mass(model.log_density, [-EXTENT] * 2, [EXTENT] * 2, points=160)
    base = TiltedGaussian(lambda x: jnp.zeros((), x.dtype), model.mean, model.scale)
    mean = lambda model: jnp.mean(jax.vmap(model.log_density)(test))
    return {
        # Pictures have the second coordinate along their rows.
        "log_density": found.log_density.T,
        "nats": found.log_normaliser - mean(model),
        "gaussian": -mean(base),
    }
