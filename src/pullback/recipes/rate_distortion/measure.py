"""The discrete model of the recipe `rate-distortion`, of which everything is known."""

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

from pullback.analysis import DiscreteRateDistortion, discrete_rate_distortion
from pullback.bounds import BatchTerms, TargetRate
from pullback.train import fit

ELBO, TARGET = "ELBO", "target rate"
_INFORMATION = 0.5  # nats that x and the true z share
# Targets of the rate, and their weights: with a target of 0 the weight is beta.
_OBJECTIVES = {ELBO: (0.0, 1.0), "beta = 0.9": (0.0, 0.9), TARGET: (_INFORMATION, 1.0)}
_ONE = 0.7  # the true probability of z = 1
_BINS = np.linspace(-1, 2, 31)


def _truth(std: float) -> tuple[np.ndarray, np.ndarray]:
    """p(z) and p(x | z): two normals about 0 and 1, in 30 bins."""
    rows = np.diff(stats.norm.cdf(_BINS[None], np.array([[0.0], [1.0]]), std))
    return np.array([1 - _ONE, _ONE]), rows / rows.sum(1, keepdims=True)


def _shared(std: float) -> float:
    p_z, p_x_z = _truth(std)
    joint = p_z[:, None] * p_x_z
    return float(special.rel_entr(joint, p_z[:, None] * joint.sum(0)).sum())


def true_model() -> tuple[np.ndarray, np.ndarray]:
    """p(z) and p(x | z), with the spread at which x and z share half a nat."""
    root: Any = optimize.brentq(lambda std: _shared(std) - _INFORMATION, 0.1, 1.0)
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

    def measure(self, p_x: Array) -> tuple[DiscreteRateDistortion, Array, Array]:
        """The exact rate and distortion, and the logs of prior and decoder."""
        centres = jnp.asarray((_BINS[:-1] + _BINS[1:]) / 2)
        logits = jnp.stack([jnp.zeros_like(centres), self.slope * centres + self.offset], axis=1)
        prior = jnp.stack([jnp.zeros_like(self.prior), self.prior])
        encoder, prior, decoder = map(jax.nn.log_softmax, (logits, prior, self.decoder))
        return discrete_rate_distortion(p_x, encoder, prior, decoder), prior, decoder


class _Exact(eqx.Module):
    """An objective of exact rate and distortion; the batch is the table p(x)."""

    objective: TargetRate

    def __call__(self, model: DiscreteModel, batch: Array, *, key: Array) -> tuple[Array, dict]:
        found = model.measure(batch[0])[0]
        return self.objective(BatchTerms(found.distortion[None], found.rate[None], None, None))


def discrete(steps: int, seeds: Sequence[int]) -> dict[str, Any]:
    """Train the discrete model for each objective; exact measures of each, by objective and seed.

    In float64: the objectives differ by less than single precision tells.
    """
    p_z, p_x_z = true_model()
    with jax.enable_x64(True):
        table = jnp.asarray(p_z @ p_x_z)
        keys = jnp.stack([jr.key(seed) for seed in seeds] * len(_OBJECTIVES))
        pairs = jnp.repeat(jnp.asarray([*_OBJECTIVES.values()]).T, len(seeds), axis=1)
        models, _ = fit(
            eqx.filter_vmap(DiscreteModel)(keys), _Exact(TargetRate(*pairs)), table[None],
            optimiser=optax.adam(0.02), steps=steps, batch_size=1, log_every=1000, progress=False,
            key=keys,
        )  # fmt: skip
        measured = eqx.filter_jit(eqx.filter_vmap(lambda model: model.measure(table)))
        exact, prior, decoder = jax.device_get(measured(models))
    rows = {
        **exact._asdict(),
        "larger": np.exp(prior).max(axis=1),
        "decoder": np.stack([matched(each, p_x_z) for each in np.exp(decoder)]),
    }
    rows["off"] = np.abs(rows["decoder"] - p_x_z[None]).sum(2).mean(1) / 2
    found = {
        name: {key: value.reshape(len(_OBJECTIVES), len(seeds), *value.shape[1:])[number]
               for key, value in rows.items()}
        for number, name in enumerate(_OBJECTIVES)
    }  # fmt: skip
    return {"truth": p_x_z, "found": found}


def matched(rows: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The rows in the order in which they are nearer to the truth."""
    return min(rows, rows[::-1], key=lambda each: np.abs(each - truth).sum())
