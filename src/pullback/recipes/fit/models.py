"""What is explained: the exact filter of the state data, and a recurrent network."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback import data
from pullback.models.timeseries import HMMGenerator, fit_generator
from pullback.recipes._kit.stack import made
from pullback.train import fit

# Of `data.switching_state`: which feature counts in each state, and how much.
_COUNTS, _SLOPE = (1, 2), 2.0
# Spikes so high that a threshold tells them; how late their label is, and its log-odds.
HEIGHT, _THRESHOLD, LATE, _ODDS = 2.0, 1.8, 2, 5.0


class Filter(eqx.Module):
    """The probability of the label given all that was seen, exactly."""

    hmm: HMMGenerator

    def start(self) -> Array:
        """The log-probabilities of the states."""
        return self.hmm.start()

    def step(self, state: Array, x: Float[Array, " features"]) -> tuple[Array, Array]:
        """Them at the next step, and the logits of the label."""
        weights = jnp.exp(self.hmm.posterior(state, x))
        chance = weights @ jax.nn.sigmoid(_SLOPE * x[jnp.array(_COUNTS)])
        return self.hmm.step(state, x), jnp.log(jnp.stack([1 - chance, chance]))


class Spiked(eqx.Module):
    """The label of spikes: whether feature 0 was above a threshold until so many steps ago."""

    delay: Int[Array, ""]

    def start(self) -> Array:
        """No spike until now, nor until the steps before."""
        return jnp.zeros(1 + LATE)

    def step(self, state: Array, x: Float[Array, " features"]) -> tuple[Array, Array]:
        """Whether there was one until each of the last steps, and the logits of the label."""
        now = jnp.where(x[:1] > _THRESHOLD, 1.0, state[:1])
        state = jnp.concatenate([now, state[:-1]])
        return state, _ODDS * jnp.stack([1 - state[self.delay], state[self.delay]])


class Recurrent(eqx.Module):
    """A recurrent network that says the label at each step."""

    cell: eqx.nn.GRUCell
    head: eqx.nn.Linear

    def __init__(self, features: int, hidden: int, *, key: PRNGKeyArray):
        first, second = jr.split(key)
        self.cell = eqx.nn.GRUCell(features, hidden, key=first)
        self.head = eqx.nn.Linear(hidden, 2, key=second)

    def start(self) -> Array:
        """Nothing seen."""
        return jnp.zeros(self.cell.hidden_size)

    def step(self, state: Array, x: Float[Array, " features"]) -> tuple[Array, Array]:
        """The state once a step was seen, and the logits of its label."""
        state = self.cell(x, state)
        return state, self.head(state)


def exact(law: data.StateLaw) -> tuple[Filter, HMMGenerator]:
    """The best predictor that there is, and what comes next."""
    hmm = HMMGenerator(*law)
    return Filter(hmm), hmm


def spiked(x: Float[np.ndarray, "series time features"], delay: int) -> tuple[Spiked, HMMGenerator]:
    """The label, and a Gaussian without memory that has the mean and covariance of the series."""
    rows = x.reshape(-1, x.shape[2])
    one = HMMGenerator([1.0], [[1.0]], rows.mean(axis=0)[None], np.cov(rows.T)[None])
    return Spiked(jnp.asarray(delay)), one


def learned(config: Any, series: data.ExplainedSeries, seed: int) -> tuple[Recurrent, Any]:
    """A predictor and a generator that know series and labels, and no law."""
    x, y = jnp.asarray(series.x, float), jnp.asarray(series.y)
    keys = jr.split(jr.key(seed), 3)
    predictor, _ = fit(
        made(Recurrent, x.shape[2], config.hidden, key=keys[0]), label_loss, (x, y),
        optimiser=optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)),
        steps=config.steps, batch_size=min(config.batch_size, len(x)), log_every=config.steps,
        progress=False, key=keys[1],
    )  # fmt: skip
    generator, _ = fit_generator(
        np.asarray(series.x), hidden=config.generator_hidden, components=config.components,
        steps=config.generator_steps, batch_size=min(config.batch_size, len(x)),
        progress=False, key=keys[2],
    )  # fmt: skip
    return predictor, generator


def label_loss(
    model: Filter | Recurrent, batch: tuple[Array, Array], *, key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The cross entropy of the label at every step."""
    run = lambda x: jax.lax.scan(lambda *at: model.step(*at), model.start(), x)[1]
    entropy = optax.softmax_cross_entropy_with_integer_labels(jax.vmap(run)(batch[0]), batch[1])
    return jnp.mean(entropy), {}
