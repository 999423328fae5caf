"""What the recipe `lsd` trains: models of independent sources behind mixtures."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from pullback.calculus import HutchinsonDivergence
from pullback.models.energy import LinearICA, ScoreMatchingLoss, fit_stein, random_unmixing
from pullback.recipes._kit.checks import check_above_zero, check_least, check_rising
from pullback.recipes._kit.stack import one_by_one
from pullback.runs import Context
from pullback.train import fit

_TEST = 5000  # rows that likelihoods are measured on


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Models of each kind, from starts of their own."""
    sources: int = 50
    """Sources of independent component analysis."""
    rows: int = 20_000
    """Rows that the models of independent components are trained on."""
    steps: int = 3000
    """Steps of a model, and of its critic."""
    batch_size: int = 128
    """Rows a step."""
    width: int = 128
    """Size of the hidden layers of the critic that models are trained by."""
    learning_rate: float = 3e-2
    """Adam's learning rate for the models of sources; it falls to nothing."""
    test_width: int = 64
    """Size of the hidden layers of the critics of tests; no less than half the columns."""
    test_steps: int = 300
    """Steps of training of a test's critic."""
    test_batch: int = 200
    """Points in each of them."""
    points: int = 1000
    """Points in a data set."""
    repeats: int = 16
    """Data sets with a wrong model that each test of fit is given."""
    level_repeats: int = 100
    """Data sets with a right model that each test of fit is given."""
    visible: tuple[int, ...] = (50, 200)
    """Visible units of the Boltzmann machines, rising; the paper has up to 200."""
    machine_repeats: int = 40
    """Data sets of the largest Boltzmann machine that the tests are given."""
    gibbs: int = 200
    """Steps of the Boltzmann machines' chains."""

    def __post_init__(self):
        check_above_zero(self)
        check_rising(self, "visible", count=2, least=1)
        check_least(self, points=100, sources=2, test_batch=2, rows=2 * self.batch_size)


def train_ica(config: Config, context: Context, seed: int) -> dict[str, Float[Array, " seeds"]]:
    """The nats of unseen rows by each method; of the truth they are `[1]`."""
    truth_key, data_key, start_key, *keys = jr.split(jr.key(seed), 6)
    mixed = LinearICA(random_unmixing(config.sources, key=truth_key))
    rows = mixed.sample(data_key, (config.rows + _TEST,))
    white = _whitening(rows[: config.rows])
    rows = rows @ white
    x, test = rows[: config.rows], rows[config.rows :]
    random = lambda key: random_unmixing(config.sources, key=key)
    start = LinearICA(jax.vmap(random)(jr.split(start_key, config.seeds)))
    # A rate that falls to nothing, so that the end is not a matter of the last batches.
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)

    def likelihood(model: LinearICA, batch: Array, *, key: Array) -> tuple[Array, dict]:
        return -jnp.mean(jax.vmap(model.log_prob)(batch)), {}

    found = {"start": start}
    losses = {
        "maximum likelihood": likelihood,
        "sliced score matching": ScoreMatchingLoss(HutchinsonDivergence()),
    }
    for (name, loss), key in zip(losses.items(), keys, strict=False):
        found[name], _ = fit(
            start, loss, x, optimiser=optax.adam(rate), steps=config.steps,
            batch_size=config.batch_size, progress=context.progress,
            key=jr.split(key, config.seeds),
        )  # fmt: skip
    # The critic's rate does not fall: without a critic that follows the model goes astray.
    found["LSD"], _ = fit_stein(
        start, x, width=config.width, steps=config.steps, batch_size=config.batch_size,
        n_critic=1, l2=10.0, learning_rate=rate, critic_learning_rate=3e-3,
        progress=context.progress, log_every=max(1, config.steps // 10),
        key=jr.split(keys[2], config.seeds),
    )  # fmt: skip
    truth = LinearICA(jnp.linalg.solve(white, mixed.unmixing))
    found["truth"] = jax.tree.map(lambda leaf: leaf[None], truth)
    return {name: one_by_one(_nats, models, test) for name, models in found.items()}


def _whitening(x: Float[Array, "n dim"]) -> Float[Array, "dim dim"]:
    """Columns that make the covariance of rows the unit matrix, as ICA is mostly begun."""
    values, vectors = np.linalg.eigh(np.cov(np.asarray(x, float), rowvar=False))
    return jnp.asarray(vectors / np.sqrt(values), x.dtype)


def _nats(model: Any, x: Float[Array, "n dim"]) -> Float[Array, ""]:
    return -jnp.mean(jax.vmap(model.log_prob)(x))
