"""Five noisy points of a cosine under a prior by which posterior and evidence are known exactly."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy.special import logsumexp

from pullback import data
from pullback.models import timeseries as ts

SEEN = (0.2, 0.4, 0.6, 1.4, 1.6)
NOISE, END, PIECES = 0.1, 2.0, 20
PRIOR = ts.OrnsteinUhlenbeck(1, rate=1.0, sigma=0.5)
# Euler's, of the training and the bound, and of the importance weights.
STEPS, FINE_STEPS = 80, 320
# Where moments are drawn, and of these 0, 0.4, 1, 1.5 and 2, where they are compared.
QUERY = np.linspace(0.0, END, 81)
ASKED = [0, 16, 40, 60, 80]


class Points(NamedTuple):
    """The five points, and the same on the grid on which a model is solved."""

    times: Array
    values: Array
    observed: ts.Observations


def points(seed: int) -> Points:
    """Noisy points of a cosine, on a grid of equal pieces from 0 to 2."""
    drawn = data.cosine_points([(t, t) for t in SEEN], points=1, noise=NOISE, seed=seed).observed
    grid = np.linspace(0.0, END, PIECES + 1)
    places = np.rint(np.array(SEEN) * PIECES / END).astype(int)
    # The very numbers of the five: a point's context ends at its time, to the last bit.
    grid[places] = SEEN
    values, mask = np.zeros((len(grid), 1)), np.zeros((len(grid), 1), bool)
    values[places], mask[places] = drawn.values[0], True
    observed = ts.observations(data.irregular_series([(grid, values, mask)]))
    return Points(observed.times[0, places], observed.values[0, places, 0], observed)


def untrained(key: PRNGKeyArray) -> ts.LatentSDE:
    """The latent SDE, whose posterior is the prior: control and start are to be learned."""
    return ts.latent_sde(
        1,
        latent=1,
        encoder=ts.NoContext(),
        prior=PRIOR,
        decoder=_same,
        likelihood=ts.Normal(NOISE),
        width=32,
        depth=2,
        harmonics=4,
        period=END,
        steps=STEPS // PIECES,
        key=key,
    )


def _same(z: Array) -> Array:
    return z


def measure(
    model: ts.LatentSDE, found: Points, paths: int, samples: int, key: PRNGKeyArray
) -> dict[str, Any]:
    """Moments and bounds of a trained model beside the exact ones.

    Returns:
        At `QUERY`, mean and deviation of `exact` and `model`; the `evidence`; the `elbo` with
        `STEPS` steps; and `iwae`, the mean importance-weighted bound of `samples` paths with
        `FINE_STEPS`.
    """
    query = jnp.asarray(QUERY, float)
    # One step in each of 80 pieces: those of the training.
    ends, _ = _paths(dataclasses.replace(model, steps=1), found, query, paths, key)
    drawn = np.asarray(ends)[:, 0, :, 0]
    fine = dataclasses.replace(model, steps=FINE_STEPS // PIECES)
    log_weights = np.asarray(_log_weights(fine, found, jr.split(key, paths))).reshape(-1, samples)
    exact = PRIOR.posterior(found.times, found.values, query, noise=NOISE)
    return {
        "exact": [np.asarray(moment) for moment in exact],
        "model": [drawn.mean(axis=0), drawn.std(axis=0)],
        "evidence": float(PRIOR.log_evidence(found.times, found.values, noise=NOISE)),
        "elbo": float(eqx.filter_jit(model.elbo)(found.observed, samples=paths, key=key)[0]),
        "iwae": float(np.mean(logsumexp(log_weights, axis=1) - np.log(samples))),
        "points": [np.asarray(found.times), np.asarray(found.values)],
    }


@eqx.filter_jit
def _paths(
    model: ts.LatentSDE, found: Points, query: Array, samples: int, key: PRNGKeyArray
) -> tuple[Array, Any]:
    return model.paths(found.observed, query[None], samples=samples, keys=jr.split(key, 1))


@eqx.filter_jit
def _log_weights(model: ts.LatentSDE, found: Points, keys: Array) -> Array:
    """Of one path for each key, p(values, path) / q(path): the bound of one sample."""
    return jax.vmap(lambda key: model.iwae(found.observed, samples=1, key=key)[0])(keys)
