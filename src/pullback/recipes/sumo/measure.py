"""What the recipe `sumo` measures where the evidence is known.

z ~ N(theta, I), x | z ~ N(z, I), and a posterior whose mean is off by `delta` in each of its five
dimensions and whose variance is 2/3 in place of 1/2.
"""

import functools
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pullback.bounds import ragged_multilevel, ragged_sumo
from pullback.calculus import (
    Geometric,
    HarmonicTail,
    Multilevel,
    RaggedTerms,
    diagnose_draws,
    ragged_terms,
)
from pullback.sampling import log_mean_exp

DIM = 5
TRUNCATION = HarmonicTail(cap=110)
_mean = eqx.filter_jit(lambda truncation: truncation.mean())
_sample = eqx.filter_jit(lambda truncation, shape, key: truncation.sample(shape, key=key))
_LETTERS = {"IWAE": "k", "SUMO": "m", "multilevel": "base"}


class Way(NamedTuple):
    """A way to estimate the log-evidence.

    Attributes:
        kind: a bound of `size` samples ("IWAE"), "SUMO" with as many exact ones, or "multilevel"
            with as many in the base.
        size: that number.
    """

    kind: Literal["IWAE", "SUMO", "multilevel"]
    size: int

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.kind}, {_LETTERS[self.kind]} = {self.size}"

    @property
    def levels(self) -> Multilevel:
        """Of the multilevel form: up to 64 times the base."""
        return Multilevel(self.size, Geometric(2**-1.5, cap=6))

    @property
    def cost(self) -> float:
        """The expected number of samples."""
        if self.kind == "IWAE":
            return float(self.size)
        if self.kind == "SUMO":
            return self.size + float(_mean(TRUNCATION))
        return float(self.levels.mean_samples())


WAYS = (
    *(Way("IWAE", k) for k in (1, 6, 15)),
    *(Way("SUMO", m) for m in (1, 10)),
    *(Way("multilevel", base) for base in (1, 4, 8)),
)


def lists_of(way: Way, count: int, steps: int, key: PRNGKeyArray) -> Any:
    """The samples that each of `steps` batches needs, drawn beforehand, as long as the longest.

    The row, number and mask of every sample, and where each of the `count` series is stopped; of a
    bound, whose samples are as many for all, the same without a stop.
    """
    if way.kind == "IWAE":
        stops = np.full((steps, count), way.size)
        needed = [ragged_terms(stops[0])] * steps
    elif way.kind == "SUMO":
        stops = np.asarray(_sample(TRUNCATION, (steps, count), key))
        needed = [ragged_terms(stop, exact=way.size) for stop in stops]
    else:
        stops = np.asarray(_sample(way.levels.truncation, (steps, count), key))
        needed = [ragged_terms(way.levels.samples(stop)) for stop in stops]
    longest = max(len(each.row) for each in needed)
    padded = (
        [np.pad(part, (0, longest - len(part)), constant_values=fill) for part in parts]
        for parts, fill in zip(zip(*needed, strict=True), (0, 1, False), strict=True)
    )
    return RaggedTerms(*map(np.stack, padded)), stops


def log_evidence(
    way: Way, log_weights: Float[Array, " entry"], needed: RaggedTerms, stop: Int[Array, " row"]
) -> Float[Array, " row"]:
    """The estimate of each row from the flat list of its samples' log-weights."""
    if way.kind == "SUMO":
        return ragged_sumo(log_weights, needed, TRUNCATION, stop, exact=way.size)
    if way.kind == "multilevel":
        return ragged_multilevel(log_weights, needed, stop, way.levels)
    # Rows of equal length, one after the other.
    return jax.vmap(log_mean_exp)(log_weights[: stop.shape[0] * way.size].reshape(-1, way.size))


@functools.partial(jax.jit, static_argnums=(0, 3))
def _values_and_slopes(
    way: Way, theta: Array, x: Array, delta: float, lists: Any, keys: Array
) -> tuple[Array, Array]:
    """Of each batch, estimates of the rows' log-evidence, and the mean gradient per dimension."""

    def one(batch: Any) -> tuple[Array, Array]:
        (needed, stop), key = batch
        noise = jr.normal(key, (len(needed.row), DIM))
        # The posterior does not move with theta: it is another network's affair.
        mean, std = (x + theta) / 2 + delta, np.sqrt(2 / 3)
        z = mean[needed.row] + std * noise
        log_rest = dist.Normal(z, 1.0).log_prob(x[needed.row])
        log_rest -= dist.Normal(0.0, std).log_prob(std * noise)

        def total(theta: Array) -> tuple[Array, Array]:
            weights = jnp.sum(dist.Normal(theta, 1.0).log_prob(z) + log_rest, axis=1)
            values = log_evidence(way, weights, needed, stop)
            return jnp.mean(values), values

        (_, values), slope = jax.value_and_grad(total, has_aux=True)(theta)
        return values, slope / DIM

    return jax.lax.map(one, (lists, keys))


def at_the_optimum(count: int, delta: float, seed: int) -> dict[str, dict[str, Any]]:
    """Errors of each way at the maximum-likelihood theta, where the exact gradient is zero."""
    data = 0.5 + np.sqrt(2) * np.random.default_rng(seed).normal(size=(100, DIM))
    x, theta, blocks = jnp.asarray(data, float), jnp.asarray(data.mean(), float), count // 100
    truth = np.asarray(jnp.sum(dist.Normal(theta, np.sqrt(2.0)).log_prob(x), axis=1))
    found = {}
    for number, way in enumerate(WAYS):
        stops, draws = jr.split(jr.fold_in(jr.key(seed), number))
        lists = lists_of(way, len(data), blocks, stops)
        keys = jr.split(draws, blocks)
        values, slopes = _values_and_slopes(way, theta, x, delta, lists, keys)
        errors = (np.asarray(values, np.float64) - truth).ravel()
        slopes = np.asarray(slopes, np.float64)
        about = diagnose_draws(errors)
        found[way.name] = {
            "cost": way.cost,
            "bias": about.mean,
            "bias_error": about.standard_error,
            "std": float(errors.std()),
            "median_of_means": about.median_of_means,
            "worst": about.worst,
            "slope": float(slopes.mean()),
            "slope_error": float(slopes.std(ddof=1) / np.sqrt(blocks)),
        }
    return found
