"""What the recipe `sumo` measures where the evidence is known.

z ~ N(theta, I), x | z ~ N(z, I), and a posterior whose mean is off by `delta` in each of its five
dimensions and whose variance is 2/3 in place of 1/2.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

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


class Way(NamedTuple):
    """A way to estimate the log-evidence.

    Attributes:
        name: for tables.
        kind: "iwae", "sumo" or "multilevel".
        size: k of a bound, the exact samples of SUMO, or the base of the levels.
    """

    name: str
    kind: str
    size: int

    @property
    def levels(self) -> Multilevel:
        """Of the multilevel form: up to 64 times the base."""
        return Multilevel(self.size, Geometric(2**-1.5, cap=6))

    @property
    def cost(self) -> float:
        """The expected number of samples."""
        if self.kind == "iwae":
            return float(self.size)
        if self.kind == "sumo":
            return self.size + float(TRUNCATION.mean())
        return float(self.levels.mean_samples())


WAYS = (
    Way("IWAE, k = 1", "iwae", 1),
    Way("IWAE, k = 6", "iwae", 6),
    Way("IWAE, k = 15", "iwae", 15),
    Way("SUMO, m = 1", "sumo", 1),
    Way("SUMO, m = 10", "sumo", 10),
    Way("multilevel, base 1", "multilevel", 1),
    Way("multilevel, base 4", "multilevel", 4),
    Way("multilevel, base 8", "multilevel", 8),
)


def lists_of(way: Way, count: int, steps: int, key: PRNGKeyArray) -> Any:
    """The samples that each of `steps` batches needs, drawn beforehand, as long as the longest.

    The row, number and mask of every sample, and where each of the `count` series is stopped; of a
    bound, whose samples are as many for all, the same without a stop.
    """
    if way.kind == "iwae":
        stops = np.full((steps, count), way.size)
        needed = [ragged_terms(stops[0])] * steps
    elif way.kind == "sumo":
        stops = np.asarray(TRUNCATION.sample((steps, count), key=key))
        needed = [ragged_terms(stop, exact=way.size) for stop in stops]
    else:
        stops = np.asarray(way.levels.truncation.sample((steps, count), key=key))
        needed = [ragged_terms(way.levels.samples(stop)) for stop in stops]
    longest = max(len(each.row) for each in needed)
    # Rounded up, so that other seeds most often find the same compiled program.
    coarse = 1 << max(0, longest.bit_length() - 3)
    longest = -(-longest // coarse) * coarse
    lists = RaggedTerms(
        np.zeros((steps, longest), np.int32),
        np.ones((steps, longest), np.int32),
        np.zeros((steps, longest), bool),
    )
    for place, each in enumerate(needed):
        for whole, part in zip(lists, each, strict=True):
            whole[place, : len(part)] = part
    return lists, stops.astype(np.int32)


def log_evidence(
    way: Way,
    log_weights: Float[Array, " entry"],
    needed: RaggedTerms,
    stop: Int[Array, " row"],
) -> Float[Array, " row"]:
    """The estimate of each row from the flat list of its samples' log-weights."""
    if way.kind == "sumo":
        return ragged_sumo(log_weights, needed, TRUNCATION, stop, exact=way.size)
    if way.kind == "multilevel":
        return ragged_multilevel(log_weights, needed, stop, way.levels)
    # Rows of equal length, one after the other.
    return jax.vmap(log_mean_exp)(log_weights[: stop.shape[0] * way.size].reshape(-1, way.size))


def _value_and_slope(
    way: Way, theta: Array, x: Array, delta: float, lists: Any, key: Array
) -> tuple[Array, Array]:
    """Estimates of each row's log-evidence, and the mean gradient per dimension for theta."""
    needed, stop = lists
    noise = jr.normal(key, (len(needed.row), DIM))
    # The posterior does not move with theta: it is another network's affair.
    mean, std = (x + theta) / 2 + delta, np.sqrt(2 / 3)
    z = mean[needed.row] + std * noise
    log_q = dist.Normal(0.0, std).log_prob(std * noise)

    def total(theta: Array) -> tuple[Array, Array]:
        joint = dist.Normal(theta, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(x[needed.row])
        values = log_evidence(way, jnp.sum(joint - log_q, axis=1), needed, stop)
        return jnp.mean(values), values

    (_, values), slope = jax.value_and_grad(total, has_aux=True)(theta)
    return values, slope / DIM


def _data(seed: int) -> Float[np.ndarray, "100 dim"]:
    return 0.5 + np.sqrt(2) * np.random.default_rng(seed).normal(size=(100, DIM))


@functools.partial(jax.jit, static_argnums=(0, 3))
def _many(
    way: Way, theta: Array, x: Array, delta: float, lists: Any, keys: Array
) -> tuple[Array, Array]:
    one = lambda pair: _value_and_slope(way, theta, x, delta, *pair)
    return jax.lax.map(one, (lists, keys))


def at_the_optimum(count: int, delta: float, seed: int) -> dict[str, dict[str, Any]]:
    """Errors of each way at the maximum-likelihood theta, where the exact gradient is zero."""
    data, blocks = _data(seed), count // 100
    theta = jnp.asarray(data.mean(), float)
    truth = np.asarray(
        jnp.sum(dist.Normal(theta, np.sqrt(2.0)).log_prob(jnp.asarray(data, float)), axis=1)
    )
    found = {}
    for number, way in enumerate(WAYS):
        stops, draws = jr.split(jr.fold_in(jr.key(seed), number))
        lists = lists_of(way, len(data), blocks, stops)
        values, slopes = _many(
            way, theta, jnp.asarray(data, float), delta, lists, jr.split(draws, blocks)
        )
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
            "worst_share": about.worst_share,
            "slope": float(slopes.mean()),
            "slope_error": float(slopes.std(ddof=1) / np.sqrt(blocks)),
        }
    return found


def climb(names: Sequence[str], steps: int, delta: float, seed: int) -> dict[str, list[float]]:
    """The distance of theta from its maximum-likelihood value, in steps of SGD."""
    data = _data(seed)
    found = {}
    for way in (way for way in WAYS if way.name in names):
        stops, draws = jr.split(jr.key(seed))
        lists = lists_of(way, len(data), steps, stops)
        path = _climb(way, jnp.asarray(data, float), delta, lists, jr.split(draws, steps))
        found[way.name] = [float(theta - data.mean()) for theta in path]
    return found


@functools.partial(jax.jit, static_argnums=(0, 2))
def _climb(way: Way, x: Array, delta: float, lists: Any, keys: Array) -> Float[Array, " step"]:
    def step(theta: Array, inputs: tuple) -> tuple[Array, Array]:
        _, slope = _value_and_slope(way, theta, x, delta, *inputs)
        theta = theta + 0.1 * slope
        return theta, theta

    return jax.lax.scan(step, jnp.zeros(()), (lists, keys))[1]
