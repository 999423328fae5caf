"""What the recipe `rate-distortion` trains: models whose best rate and distortion are known."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy import optimize, special, stats

from pullback.analysis import (
    DiscreteRateDistortion,
    discrete_rate_distortion,
    reverse_water_filling,
)
from pullback.bounds import AbstractObjective, BatchTerms, Beta, TargetRate
from pullback.models.vae import LinearVAE
from pullback.train import fit

INFORMATION = 0.5  # nats that x and the true z share in the discrete model
OBJECTIVES = ("ELBO", "beta = 0.9", "target rate")
_BINS = np.linspace(-1, 2, 31)
_ONE = 0.7  # the true probability of z = 1


def _truth(std: float) -> tuple[np.ndarray, np.ndarray]:
    """p(z) and p(x | z): two normals about 0 and 1, in 30 bins."""
    rows = np.diff(stats.norm.cdf(_BINS[None], np.array([[0.0], [1.0]]), std))
    return np.array([1 - _ONE, _ONE]), rows / rows.sum(1, keepdims=True)


def _information(std: float) -> float:
    p_z, p_x_z = _truth(std)
    joint = p_z[:, None] * p_x_z
    return float(special.rel_entr(joint, p_z[:, None] * joint.sum(0)).sum())


def true_model() -> tuple[np.ndarray, np.ndarray]:
    """p(z) and p(x | z), with the spread at which x and z share `INFORMATION`."""
    root: Any = optimize.brentq(lambda std: _information(std) - INFORMATION, 0.1, 1.0)
    return _truth(root)


class DiscreteModel(eqx.Module):
    """Two latent classes, a logistic encoder of the bins' centres, and a table as the decoder."""

    slope: Float[Array, ""]
    offset: Float[Array, ""]
    prior: Float[Array, ""]
    decoder: Float[Array, "2 bins"]

    def __init__(self, key: Array):
        a, b, c, d = jr.split(key, 4)
        self.slope, self.offset, self.prior = jr.normal(a), jr.normal(b), jr.normal(c)
        self.decoder = jr.normal(d, (2, len(_BINS) - 1))

    def tables(self) -> tuple[Array, Array, Array]:
        """The logs of encoder, prior and decoder."""
        centres = jnp.asarray((_BINS[:-1] + _BINS[1:]) / 2)
        logits = jnp.stack([jnp.zeros_like(centres), self.slope * centres + self.offset], axis=1)
        prior = jnp.stack([jnp.zeros_like(self.prior), self.prior])
        log = jax.nn.log_softmax
        return log(logits), log(prior), log(self.decoder)

    def channel(self, p_x: Array) -> DiscreteRateDistortion:
        """The model's exact rate and distortion."""
        return discrete_rate_distortion(p_x, *self.tables())


class _Exact(eqx.Module):
    """An objective of exact rate and distortion; the batch is the table p(x)."""

    objective: AbstractObjective

    def __call__(self, model: DiscreteModel, batch: Array, *, key: Array) -> tuple[Array, dict]:
        found = model.channel(batch[0])
        return self.objective(BatchTerms(found.distortion[None], found.rate[None], None, None))


_TOY = optax.adam(0.02)


def discrete(steps: int, seeds: Sequence[int]) -> dict[str, Any]:
    """Train the discrete model for each objective; exact measures of each, by objective and seed.

    In float64: the objectives differ by less than single precision tells.
    """
    p_z, p_x_z = true_model()
    p_x = p_z @ p_x_z
    out: dict[str, Any] = {"truth": p_x_z, "p_x": p_x, "found": {}}
    with jax.enable_x64(True):
        keys = jnp.stack([jr.key(seed) for seed in seeds])
        betas = jnp.ones(len(seeds))
        for name, objective in zip(
            OBJECTIVES,
            (Beta(betas), Beta(0.9 * betas), TargetRate(INFORMATION * betas)),
            strict=True,
        ):
            models, _ = fit(
                eqx.filter_vmap(DiscreteModel)(keys), _Exact(objective), jnp.asarray(p_x)[None],
                optimiser=_TOY, steps=steps, batch_size=1, log_every=1000, progress=False,
                key=keys,
            )  # fmt: skip
            channel = jax.vmap(lambda model: model.channel(jnp.asarray(p_x)))(models)
            _, prior, decoder = jax.vmap(DiscreteModel.tables)(models)
            weights, rows = np.exp(prior), np.exp(decoder)
            generated = np.einsum("sz,szx->sx", weights, rows)
            out["found"][name] = {
                "rate": np.asarray(channel.rate),
                "distortion": np.asarray(channel.distortion),
                "information": np.asarray(channel.information),
                "weights": np.sort(weights, axis=1),
                "decoder": _matched(rows, p_x_z),
                "off": [_apart(rows[i], p_x_z) for i in range(len(seeds))],
                "generated_off": np.abs(generated - p_x).sum(1) / 2,
            }
        out["entropy"] = float(channel.entropy[0])
    return out


def _apart(rows: np.ndarray, truth: np.ndarray) -> float:
    """The rows' mean total variation from the truth, the classes in either order."""
    each = lambda found: float(np.abs(found - truth).sum(1).mean() / 2)
    return min(each(rows), each(rows[::-1]))


def _matched(rows: np.ndarray, truth: np.ndarray) -> np.ndarray:
    each = lambda found: np.abs(found - truth).sum()
    return np.stack([row if each(row) <= each(row[::-1]) else row[::-1] for row in rows])


def same_moments(rows: Float[np.ndarray, "n dim"]) -> tuple[np.ndarray, np.ndarray]:
    """Twice `dim` rows with the mean zero and the covariance of `rows`; and its eigenvalues.

    A linear model sees data through these moments alone, so that it trains on the few as it would
    on all.
    """
    centred = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    values = np.maximum(values[::-1], 0)
    spread = np.sqrt(len(values) * values)[:, None] * vectors.T[::-1]
    return np.concatenate([spread, -spread]), values


class _Linear(eqx.Module):
    beta: Float[Array, "..."]

    def __call__(self, vae: LinearVAE, batch: Array, *, key: Array) -> tuple[Array, dict]:
        return Beta(self.beta)(vae.terms(batch))


def linear(
    rows: Float[np.ndarray, "n dim"],
    betas: Sequence[float],
    *,
    latent: int,
    noise_variance: float,
    steps: int,
    seeds: Sequence[int],
) -> dict[str, np.ndarray]:
    """Linear models of data, one for each weight and seed, and the curve that they should reach.

    Returns:
        `rate` and `distortion`, `[beta, seed]`; `best_rate` and `best_distortion`, `[beta]`; and
        the whole curve, `curve`, as rows of rate and distortion.
    """
    few, values = same_moments(rows)
    weights, numbers = (each.ravel() for each in np.meshgrid(betas, seeds, indexing="ij"))
    keys = jnp.stack([jr.key(int(number)) for number in numbers])
    make = lambda key: LinearVAE(rows.shape[1], latent, noise_variance**0.5, key=key)
    data = jnp.asarray(few, float)
    models, _ = fit(
        eqx.filter_vmap(make)(keys), _Linear(jnp.asarray(weights, float)), data,
        optimiser=optax.adam(optax.cosine_decay_schedule(0.03, steps)), steps=steps,
        batch_size=len(data), log_every=500, progress=False, key=keys,
    )  # fmt: skip
    metrics = eqx.filter_vmap(lambda vae: Beta(1.0)(vae.terms(data))[1])(models)
    shape = (len(betas), len(seeds))
    best = [reverse_water_filling(values[:latent], noise_variance, beta) for beta in betas]
    rest = values[latent:].sum() / (2 * noise_variance)
    rest += (len(values) - min(latent, len(values))) / 2 * np.log(2 * np.pi * noise_variance)
    levels = np.geomspace(min(betas) / 2, max(betas) * 2, 100)
    curve = np.array([reverse_water_filling(values[:latent], noise_variance, b) for b in levels])
    return {
        "rate": np.asarray(metrics["rate"]).reshape(shape),
        "distortion": np.asarray(metrics["distortion"]).reshape(shape),
        "best_rate": np.array([each[0] for each in best]),
        "best_distortion": np.array([each[1] for each in best]) + rest,
        "curve": curve + np.array([[0.0, rest]]),
    }
