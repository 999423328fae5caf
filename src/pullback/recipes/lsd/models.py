"""What the recipe `lsd` trains: sources behind mixtures, and a density in the plane."""

import functools
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from pullback.data import standardise, two_moons
from pullback.models.energy import (
    LinearICA,
    ScoreMatchingLoss,
    TiltedGaussian,
    fit_stein,
    random_unmixing,
)
from pullback.runs import Context
from pullback.train import fit

_TEST = 5000  # rows that likelihoods are measured on
_EXTENT = 4.0  # half the side of the square on which the density in the plane is summed


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
    dim: int = 10
    """Columns of a data set of the Laplace experiment."""
    laplace: tuple[int, ...] = (0, 5, 10)
    """Numbers of columns that are Laplace and not normal; the first is 0."""
    test_steps: int = 400
    """Steps of training of a test's critic."""
    visible: int = 50
    """Visible units of the Boltzmann machine."""
    hidden: int = 40
    """Hidden units of the Boltzmann machine."""
    perturbation: float = 0.02
    """Standard deviation of the noise on the Boltzmann machine's weights."""
    machine_repeats: int = 8
    """Data sets of the Boltzmann machine that the tests are given."""
    gibbs: int = 500
    """Steps of the Boltzmann machine's chains."""

    def __post_init__(self):
        for name in ("seeds", "sources", "steps", "plane_steps", "repeats", "machine_repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.points < 100:
            raise ValueError(f"points must be at least 100, got {self.points}")
        if sorted(set(self.laplace)) != [*self.laplace] or self.laplace[:1] != (0,):
            raise ValueError(f"laplace must rise from 0, got {self.laplace}")
        if self.laplace[-1] > self.dim:
            raise ValueError(f"laplace has {self.laplace[-1]}, and there are {self.dim} columns")


def train_ica(config: Config, context: Context, seed: int) -> dict[str, np.ndarray]:
    """Unmixing matrices by each method, `[seeds, sources, sources]`, and the test rows."""
    truth_key, data_key, start_key, *keys = jr.split(jr.key(seed), 6)
    truth = LinearICA(random_unmixing(config.sources, key=truth_key))
    rows = truth.sample(data_key, (config.rows + _TEST,))
    x, test = rows[: config.rows], rows[config.rows :]
    start = LinearICA(
        jax.vmap(lambda key: random_unmixing(config.sources, key=key))(
            jr.split(start_key, config.seeds)
        )
    )
    # A rate that falls to nothing, so that the end is not a matter of the last batches.
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    adam = optax.adam(rate)

    def likelihood(model: LinearICA, batch: Array, *, key: Array) -> tuple[Array, dict]:
        return -jnp.mean(jax.vmap(model.log_prob)(batch)), {}

    found = {"start": start}
    for name, loss, key in (
        ("maximum likelihood", likelihood, keys[0]),
        ("score matching", ScoreMatchingLoss(), keys[1]),
    ):
        found[name], _ = fit(
            start, loss, x, optimiser=adam, steps=config.steps, batch_size=config.batch_size,
            progress=context.progress, key=jr.split(key, config.seeds),
        )  # fmt: skip
    found["LSD"], info = fit_stein(
        start, x, width=config.width, steps=config.steps, batch_size=config.batch_size,
        learning_rate=rate, progress=context.progress,
        log_every=max(1, config.steps // 40), key=jr.split(keys[2], config.seeds),
    )  # fmt: skip
    nll = eqx.filter_jit(
        lambda model: -jnp.mean(jax.vmap(lambda w: jax.vmap(LinearICA(w).log_prob)(test))(model), 1)
    )
    return {
        "truth": np.asarray(truth.unmixing),
        "test": np.asarray(test),
        "steps": info.history["step"],
        "discrepancy": info.history["discrepancy"],
        "truth nll": np.asarray(nll(truth.unmixing[None])),
        **{f"nll of {name}": np.asarray(nll(model.unmixing)) for name, model in found.items()},
        **{f"model of {name}": np.asarray(model.unmixing) for name, model in found.items()},
    }


def new_plane_model(x: Float[Array, "n 2"], key: Array) -> TiltedGaussian:
    """A net over the Gaussian of the data."""
    return TiltedGaussian.fitted(eqx.nn.MLP(2, "scalar", 64, 2, jax.nn.swish, key=key), x)


def plane_data(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two moons, standardised by the training part: for training and for testing."""
    x = two_moons(config.rows + _TEST, noise=0.12, seed=seed).x
    (x, test), _ = standardise(x[: config.rows], x[config.rows :])
    return x, test


def train_plane(config: Config, context: Context, seed: int) -> dict[str, Any]:
    """Densities in the plane by LSD: normalised on a grid, and their likelihoods."""
    x, test = (jnp.asarray(part, float) for part in plane_data(config, seed))
    model_key, key = jr.split(jr.key(seed))
    models = eqx.filter_vmap(functools.partial(new_plane_model, x))(
        jr.split(model_key, config.seeds)
    )
    models, info = fit_stein(
        models, x, width=config.width, steps=config.plane_steps, batch_size=config.batch_size,
        learning_rate=optax.cosine_decay_schedule(2e-3, config.plane_steps), l2=1.0,
        progress=context.progress,
        log_every=max(1, config.plane_steps // 40), key=jr.split(key, config.seeds),
    )  # fmt: skip
    side = 161
    line = jnp.linspace(-_EXTENT, _EXTENT, side)
    grid = jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)

    @eqx.filter_jit
    def measured(models: Any) -> tuple[Array, Array, Array]:
        def one(model: TiltedGaussian) -> tuple[Array, Array, Array]:
            values = jax.lax.map(model.log_density, grid, batch_size=2000)
            log_z = jax.nn.logsumexp(values) + 2 * jnp.log(line[1] - line[0])
            own = jnp.mean(jax.vmap(model.log_density)(test)) - log_z
            base = TiltedGaussian(lambda x: jnp.zeros((), x.dtype), model.mean, model.scale)
            return values - log_z, -own, -jnp.mean(jax.vmap(base.log_density)(test))

        return eqx.filter_vmap(one)(models)

    log_density, nll, gaussian = measured(models)
    return {
        "log density": np.asarray(log_density).reshape(config.seeds, side, side),
        "nll": np.asarray(nll),
        "gaussian": np.asarray(gaussian),
        "extent": _EXTENT,
        "steps": info.history["step"],
        "discrepancy": info.history["discrepancy"],
    }
