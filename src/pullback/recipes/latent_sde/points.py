"""Five noisy points of a cosine under a prior by which posterior and evidence are known exactly."""

import dataclasses
from typing import Any

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
PATHS = 512
# Where moments are drawn, and of these 0, 0.4, 1, 1.5 and 2, where they are compared.
QUERY = np.linspace(0.0, END, 81)
ASKED = [0, 16, 40, 60, 80]


def points(seed: int) -> ts.Observations:
    """Noisy points of a cosine, on a grid of equal pieces from 0 to 2."""
    drawn = data.cosine_points([(t, t) for t in SEEN], points=1, noise=NOISE, seed=seed).observed
    grid = np.linspace(0.0, END, PIECES + 1)
    places = np.rint(np.array(SEEN) * PIECES / END).astype(int)
    # The very numbers of the five: a point's context ends at its time, to the last bit.
    grid[places] = SEEN
    values, mask = np.zeros((len(grid), 1)), np.zeros((len(grid), 1), bool)
    values[places], mask[places] = drawn.values[0], True
    return ts.observations(data.irregular_series([(grid, values, mask)]))


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
    model: ts.LatentSDE, observed: ts.Observations, bounds: int, key: PRNGKeyArray
) -> dict[str, Any]:
    """Moments and bounds of a trained model beside the exact ones.

    Returns:
        At `QUERY`, mean and deviation of `exact` and `model`; the `evidence`; the `elbo` with
        `STEPS` steps; and `iwae`, the mean importance-weighted bound of `PATHS` paths with
        `FINE_STEPS`.
    """
    paths = bounds * PATHS
    query = jnp.asarray(QUERY, float)
    # One step in each of 80 pieces: those of the training.
    solve = eqx.filter_jit(dataclasses.replace(model, steps=1).paths)
    ends, _ = solve(observed, query[None], samples=paths, keys=jr.split(key, 1))
    drawn = np.asarray(ends)[:, 0, :, 0]
    fine = dataclasses.replace(model, steps=FINE_STEPS // PIECES)
    log_weights = np.asarray(_log_weights(fine, observed, jr.split(key, paths)))
    iwae = logsumexp(log_weights.reshape(bounds, PATHS), axis=1) - np.log(PATHS)
    times, values = (np.asarray(part)[np.asarray(observed.mask)[..., 0]] for part in observed[:2])
    seen = jnp.asarray(times), jnp.asarray(values[:, 0])
    return {
        "exact": [np.asarray(moment) for moment in PRIOR.posterior(*seen, query, noise=NOISE)],
        "model": [drawn.mean(axis=0), drawn.std(axis=0)],
        "evidence": float(PRIOR.log_evidence(*seen, noise=NOISE)),
        "elbo": float(eqx.filter_jit(model.elbo)(observed, samples=paths, key=key)[0]),
        "iwae": float(np.mean(iwae)),
        "points": [times, values[:, 0]],
    }


@eqx.filter_jit
def _log_weights(model: ts.LatentSDE, observed: ts.Observations, keys: Array) -> Array:
    """Of one path for each key, p(values, path) / q(path): the bound of one sample."""
    return jax.vmap(lambda key: model.iwae(observed, samples=1, key=key)[0])(keys)
