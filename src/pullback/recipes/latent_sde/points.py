"""Five noisy points of a cosine under a known prior: what the recipe `latent-sde` trains on them.

The prior is an Ornstein-Uhlenbeck process, so posterior and evidence are known exactly.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Key, PRNGKeyArray
from scipy.special import logsumexp

from pullback import data, train
from pullback.models.timeseries import (
    Control,
    LatentODE,
    LatentODELoss,
    LatentSDE,
    LatentSDELoss,
    NoContext,
    Normal,
    Observations,
    OrnsteinUhlenbeck,
    Posterior,
    TrainingSeries,
    latent_sde,
    observations,
)

SEEN = (0.2, 0.4, 0.6, 1.4, 1.6)
ASKED = (0.0, 0.4, 1.0, 1.5, 2.0)
NOISE, END, PIECES = 0.1, 2.0, 20
PRIOR = OrnsteinUhlenbeck(1, rate=1.0, sigma=0.5)
STEPS = (80, 320)


class Points(NamedTuple):
    """The five points, and the same on the grid on which a model is solved."""

    times: Array
    values: Array
    observed: Observations


def points(seed: int) -> Points:
    """Noisy points of a cosine, on a grid of equal pieces from 0 to 2."""
    drawn = data.cosine_points([(t, t) for t in SEEN], points=1, noise=NOISE, seed=seed).observed
    grid = np.linspace(0.0, END, PIECES + 1)
    places = np.rint(np.array(SEEN) * PIECES / END).astype(int)
    # The very numbers of the five: a point's context ends at its time, to the last bit.
    grid[places] = SEEN
    values, mask = np.zeros((len(grid), 1)), np.zeros((len(grid), 1), bool)
    values[places], mask[places] = drawn.values[0], True
    observed = observations(data.irregular_series([(grid, values, mask)]))
    return Points(observed.times[0, places], observed.values[0, places, 0], observed)


def untrained_sde(steps: int, *, key: PRNGKeyArray) -> LatentSDE:
    """The latent SDE, whose posterior is the prior: control and start are to be learned."""
    return latent_sde(
        1,
        latent=1,
        encoder=NoContext(),
        prior=PRIOR,
        decoder=_same,
        likelihood=Normal(NOISE),
        width=32,
        depth=2,
        harmonics=4,
        period=END,
        steps=steps // PIECES,
        key=key,
    )


def _same(z: Array) -> Array:
    return z


class _Start(eqx.Module):
    """A posterior of the start that is the same for any series."""

    mean: Array
    raw: Array

    def __call__(self, times: Array, values: Array, mask: Array, *, anchor: str) -> Posterior:
        return Posterior(self.mean, jax.nn.softplus(self.raw))


class _Field(eqx.Module):
    """The posterior's drift, for a state that is divided by the prior's deviation."""

    control: Control
    scale: float = eqx.field(static=True)

    def __call__(self, t: Array, z: Array, args: None) -> Array:
        x = self.scale * z
        u = self.control(t, x, jnp.zeros(0, z.dtype))
        return (PRIOR.drift(t, x) + PRIOR.sigma * u) / self.scale


class _Scaled(eqx.Module):
    scale: float = eqx.field(static=True)

    def __call__(self, z: Array) -> Array:
        return self.scale * z


def untrained_ode(*, key: PRNGKeyArray) -> LatentODE:
    """The same start, drift and likelihood without noise on the way."""
    scale = float(PRIOR.sigma / np.sqrt(2 * PRIOR.rate))
    return LatentODE(
        encoder=_Start(jnp.zeros(1), jnp.zeros(1)),
        field=_Field(Control(1, 0, width=32, depth=2, harmonics=4, period=END, key=key), scale),
        decoder=_Scaled(scale),
        likelihood=Normal(NOISE),
        steps=1,
    )


def _optimiser(learning_rate: float, iterations: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(learning_rate, iterations))


def _loss(kind: type, samples: int) -> Any:
    return {LatentSDE: LatentSDELoss, LatentODE: LatentODELoss}[kind](samples=samples)


def trained(
    model: Any,
    found: Points,
    *,
    learning_rate: float,
    iterations: int,
    samples: int,
    key: PRNGKeyArray,
    **where: Any,
) -> tuple[Any, train.TrainingInfo]:
    """`model` fitted to the five points."""
    return train.fit(
        model,
        _loss(type(model), samples),
        TrainingSeries(found.observed),
        optimiser=_optimiser(learning_rate, iterations),
        steps=iterations,
        batch_size=1,
        clip_norm=10.0,
        log_every=min(50, iterations),
        key=key,
        **where,
    )


class _ExactControl(eqx.Module):
    found: Points

    def __call__(self, t: Array, z: Array, context: Array) -> Array:
        _, values, _ = self.found
        return PRIOR.control(t, z, self.found.times, values[:, None], noise=NOISE)


class _ExactStart(eqx.Module):
    found: Points

    def __call__(self, context: Array) -> Array:
        mean, std = exact_posterior(self.found, jnp.zeros(1))
        return jnp.concatenate([mean, jnp.log(jnp.expm1(std))])


def exact_posterior(found: Points, query: Array) -> tuple[Array, Array]:
    """Mean and deviation of the process, given the five points."""
    return PRIOR.posterior(found.times, found.values, query, noise=NOISE)


@eqx.filter_jit
def _bound(model: LatentSDE, found: Points, samples: int, key: PRNGKeyArray) -> Array:
    return model.elbo(found.observed, samples=samples, key=key)[0]


@eqx.filter_jit
def _log_weights(model: LatentSDE, found: Points, keys: Key[Array, " path"]) -> Array:
    """Of one path for each key, p(values, path) / q(path): the bound of one sample."""
    return jax.vmap(lambda key: model.iwae(found.observed, samples=1, key=key)[0])(keys)


@eqx.filter_jit
def _moments(
    model: Any, found: Points, query: Array, samples: int, key: PRNGKeyArray
) -> tuple[Array, Array]:
    paths, _ = model.paths(found.observed, query[None], samples=samples, keys=jr.split(key, 1))
    return jnp.mean(paths[:, 0, :, 0], axis=0), jnp.std(paths[:, 0, :, 0], axis=0)


def measure(
    sde: LatentSDE,
    ode: LatentODE,
    found: Points,
    paths: int,
    samples: Sequence[int],
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """Moments and bounds of trained models beside the exact ones.

    Returns:
        `query`, and mean and deviation there of `exact`, `sde` and `ode`; the `evidence`; the
        `elbo` at each of `STEPS` with the `trained` control and the `exact` one; and `iwae`, the
        mean importance-weighted bound of each of `samples`, at the most steps.
    """
    query = jnp.linspace(0.0, END, 81)
    fine = lambda model, steps: dataclasses.replace(model, steps=steps // PIECES)
    exact = dataclasses.replace(sde, start=_ExactStart(found), control=_ExactControl(found))
    moments = {
        "exact": exact_posterior(found, query),
        # One step in each of 80 pieces: those of the training.
        "sde": _moments(dataclasses.replace(sde, steps=1), found, query, paths, key),
        "ode": _moments(ode, found, query, paths, key),
    }
    log_weights = np.asarray(_log_weights(fine(sde, STEPS[-1]), found, jr.split(key, paths)))
    return {
        "query": np.asarray(query),
        "moments": {name: [np.asarray(a) for a in pair] for name, pair in moments.items()},
        "evidence": float(PRIOR.log_evidence(found.times, found.values, noise=NOISE)),
        "elbo": {
            name: [float(_bound(fine(model, n), found, paths, key)) for n in STEPS]
            for name, model in (("trained", sde), ("exact", exact))
        },
        "iwae": [
            float(np.mean(logsumexp(log_weights.reshape(-1, k), axis=1) - np.log(k)))
            for k in samples
        ],
        "points": [np.asarray(found.times), np.asarray(found.values)],
    }


def at(found: dict[str, Any], name: str, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of one of the `moments` at some times of `query`."""
    places = [int(np.argmin(np.abs(found["query"] - t))) for t in times]
    mean, std = found["moments"][name]
    return mean[places], std[places]
