"""How the recipe `delta-vae` trains and measures, and what is known exactly."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pullback.bounds import pairwise_log_prob, tnce
from pullback.models.vae import VAE, aggregate_normal, batch_terms
from pullback.recipes._kit.stack import unstacked
from pullback.recipes.delta_vae.models import Config, Way, WayLoss, autoencoder, sequences
from pullback.train import fit

_POINTS = 50  # of a curve of training


def train(config: Config, way: Way, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Models of all seeds, measured on new sequences: in nats and shares, one of each seed.

    And the mean rate of a batch along the `steps`: `curve`, `[seed, point]`.
    """
    keys = jax.vmap(lambda key: jr.split(key, 3))(jnp.stack([jr.key(seed) for seed in seeds]))
    every = config.steps // min(_POINTS, config.steps)
    make = lambda key: autoencoder(
        (config.length, config.bits), way.prior, config.width, causal=way.causal, key=key
    )
    models, info = fit(
        # Not compiled as one: all ways have networks of the same shapes.
        eqx.filter_vmap(make)(keys[:, 0]),
        WayLoss(jnp.asarray(way.target)),
        lambda key: sequences(config, config.batch_size, key)[0],
        optimiser=optax.adam(config.learning_rate), steps=config.steps // every * every,
        log_every=every, sequential=True, progress=False, key=keys[:, 1],
    )  # fmt: skip
    rows = []
    for vae, key in zip(unstacked(models), keys[:, 2], strict=True):
        numbers, (states, z, mean) = jax.device_get(_measure(config, vae, key))
        numbers["state_from_draw"], numbers["state_from_mean"] = (
            _state_read(each, states) for each in (z, mean)
        )
        rows.append(numbers)
    found = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    return {**found, "curve": info.history["rate"].T, "steps": info.history["step"]}


@eqx.filter_jit
def _measure(config: Config, vae: VAE, key: Array) -> tuple[dict[str, Array], tuple[Array, ...]]:
    data_key, fit_key, key = jr.split(key, 3)
    x, states = sequences(config, config.evaluated, data_key)
    other, _ = sequences(config, config.evaluated, fit_key)
    terms = batch_terms(vae, x, key=key)
    q = terms.posterior.base_dist
    fitted = aggregate_normal(jax.vmap(vae.posterior)(other))

    def information(batch: tuple[Array, Array, Array]) -> Array:
        normal = lambda q: dist.Normal(*q, validate_args=False).to_event(2)
        return tnce(pairwise_log_prob(normal, batch[:2], batch[2]))

    batches = jax.tree.map(
        lambda rows: rows.reshape(-1, config.batch_of_bound, *rows.shape[1:]),
        (q.loc, q.scale, terms.z),
    )
    numbers = {
        "distortion": jnp.mean(terms.distortion),
        "rate": jnp.mean(terms.rate),
        "fitted_rate": jnp.mean(fitted.kl_from(terms.posterior)),
        "information": jnp.mean(jax.lax.map(information, batches)),
    }
    return numbers, (states, terms.z, q.loc)


def _state_read(latents: Float[np.ndarray, "n time channel"], states: np.ndarray) -> float:
    """How often a linear classifier reads the hidden state of a step from its latents."""
    half = len(latents) // 2
    rows = [part.reshape(-1, latents.shape[-1]) for part in (latents[:half], latents[half:])]
    return probe(rows, [states[:half].ravel(), states[half:].ravel()])


def probe(latents: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> float:
    """How often a linear classifier, fitted to the first set, tells the labels of the second."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    return float(model.fit(latents[0], labels[0]).score(latents[1], labels[1]))


def exact(config: Config, x: np.ndarray, states: np.ndarray) -> dict[str, float]:
    """Of the process itself: its entropy on x, and how often its own inference is right.

    By sums over the hidden states; `accuracy` is the best that any code of the sequence can do.
    """
    ones, high, low = x.sum(-1), np.log(config.contrast), np.log(1 - config.contrast)
    zeros = config.bits - ones
    emitted = np.stack([ones * low + zeros * high, ones * high + zeros * low], axis=-1)
    move = np.log([[config.stay, 1 - config.stay], [1 - config.stay, config.stay]])

    def before(emitted: np.ndarray) -> np.ndarray:
        """The log-probability of a state and of all rows before it."""
        sums = [np.full((len(x), 2), np.log(0.5))]
        for row in np.moveaxis(emitted, 1, 0)[:-1]:
            sums.append(np.logaddexp.reduce((sums[-1] + row)[:, :, None] + move[None], axis=1))
        return np.stack(sums, axis=1)

    # The chain is the same backwards, where it starts as evenly.
    both = before(emitted) + emitted + before(emitted[:, ::-1])[:, ::-1] - np.log(0.5)
    return {
        "entropy": -float(np.mean(np.logaddexp.reduce(both[:, 0], axis=1))),
        "accuracy": float(np.mean(both.argmax(-1) == states)),
    }
