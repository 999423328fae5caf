"""The finite set Stein discrepancy: a kernel test of linear cost, at a few places."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback._promotion import standard_promotion
from pullback._traced import compiled
from pullback.analysis._kernel_stein import (
    ADVICE,
    check_bandwidth,
    median_distance,
    radial_profile,
    squared_distances,
)
from pullback.analysis._stein_result import (
    GoodnessOfFit,
    Points,
    check_counts,
    check_level,
    checked_points,
    checked_result,
    checked_score,
    scores_at,
    units_of,
)
from pullback.train import apply_gradient


def finite_set_stein_test(
    x: Points,
    *,
    score: Callable[[Any], Any] | None = None,
    log_prob: Callable[[Any], Any] | None = None,
    num_locations: int = 5,
    locations: Float[Array, "places _"] | None = None,
    bandwidth: float | Float[Array, ""] | None = None,
    train: float = 0.2,
    steps: int = 200,
    learning_rate: float = 0.05,
    alpha: float = 0.05,
    num_simulate: int = 2000,
    standardise: bool = True,
    batch_size: int = 1024,
    key: PRNGKeyArray,
) -> GoodnessOfFit:
    r"""Test whether a model fits data, by a kernel's Stein witness at a few places.

    $$ \mathrm{FSSD}^2 = \frac{1}{n(n-1)} \sum_{i \ne j} \tau(x_i) \cdot \tau(x_j), \qquad
       \tau_{dj}(x) = \frac{1}{\sqrt{dJ}} \big( s(x) k(x, v_j) + \nabla_x k(x, v_j) \big)_d $$

    The places $v_j$ and the width of the Gaussian kernel are trained for power on a part of the
    points, and the rest is tested; without training they are draws of a Gaussian fitted to the
    points. The cost is linear in n. Under a model that is right $n\,\mathrm{FSSD}^2$ is a weighted
    sum of squared normals, which is simulated.

    Args:
        x: independent draws from the data's distribution, `[n, dim]`.
        score: the gradient of the model's log-density at one point. This or `log_prob`.
        log_prob: the model's log-density at one point, with any constant.
        num_locations: J, where `locations` is None.
        locations: the places to start at, in the units of `standardise`.
        bandwidth: the width to start at, in those units; None: the median distance.
        train: the share of the points that places and width are trained on.
        steps: of that training; 0: none, and all points are tested.
        learning_rate: of that training, by Adam.
        alpha: the level: how often a model that is right is rejected.
        num_simulate: draws of the statistic under a model that is right.
        standardise: shift and scale each column by the data.
        batch_size: points whose scores are held in memory at once.
        key: for the places, the split and the simulation.

    Returns:
        A `GoodnessOfFit`: `statistic` is $n\, \mathrm{FSSD}^2$, `discrepancy`
        $\mathrm{FSSD}^2$.

    Raises:
        ValueError: as `goodness_of_fit`, or `train` leaves too few points.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = 1.0 + jax.random.normal(jax.random.key(0), (100, 2))
        >>> found = finite_set_stein_test(x, score=lambda x: -x, steps=20, key=jax.random.key(1))
        >>> bool(found.reject)
        True

    Source: Jitkrittum et al., A Linear-Time Kernel Goodness-of-Fit Test, arXiv 1705.07673.
    """
    key = checked_key(key)
    x = checked_points(x)
    check_level(alpha)
    check_counts(num_locations=num_locations, num_simulate=num_simulate, batch_size=batch_size)
    check_bandwidth(bandwidth)
    if steps < 0:
        raise ValueError(f"`steps` must be 0 or more, got {steps}.")
    first = round(train * len(x)) if steps else 0
    if steps and not (0 < train < 1 and first >= 2 and len(x) - first >= 2):
        raise ValueError(
            f"`train` must be a share between 0 and 1 that leaves two points or more on either "
            f"side; got {train} of {len(x)} points."
        )
    if locations is not None and locations.shape[1:] != x.shape[1:]:
        raise ValueError(f"`locations` must have shape [J, {x.shape[1]}], got {locations.shape}.")
    field = checked_score(score, log_prob, x)
    start = None if bandwidth is None else jnp.asarray(bandwidth, x.dtype)
    result = _test(
        x, field, locations, start, num_locations, first, steps, learning_rate, alpha,
        num_simulate, standardise, batch_size, key,
    )  # fmt: skip
    advice = f"{ADVICE}, or a smaller `learning_rate`" if steps else ADVICE
    return checked_result(result, field, x, batch_size, advice=advice)


class Places(NamedTuple):
    """What the test looks through: places `[J, dim]`, and the log of the kernel's width."""

    v: Float[Array, "j dim"]
    log_width: Float[Array, ""]


def stein_features(
    places: Places, x: Float[Array, "n dim"], s: Float[Array, "n dim"]
) -> Float[Array, "n features"]:
    r"""$\tau(x_i)$, `[n, J dim]`."""
    width = jnp.exp(places.log_width)
    k, first, _ = radial_profile(squared_distances(x, places.v), "rbf", width)
    gap = x[:, None, :] - places.v[None]
    tau = s[:, None, :] * k[..., None] + 2 * first[..., None] * gap
    return tau.reshape(len(x), -1) / jnp.sqrt(jnp.asarray(places.v.size, x.dtype))


def _moments(tau: Float[Array, "n features"]) -> tuple[Array, Array]:
    """The discrepancy, and the deviation of one term of it where it is not zero."""
    n, total = len(tau), jnp.sum(tau, axis=0)
    discrepancy = (jnp.sum(total**2) - jnp.sum(tau**2)) / (n * (n - 1))
    return discrepancy, 2 * jnp.std(tau @ (total / n))


@functools.cache
def _adam(learning_rate: float) -> optax.GradientTransformation:
    return optax.adam(learning_rate)


@compiled
def _test(
    x: Float[Array, "n dim"],
    score: Any,
    locations: Float[Array, "j dim"] | None,
    bandwidth: Float[Array, ""] | None,
    num_locations: int,
    first: int,
    steps: int,
    learning_rate: float,
    alpha: float,
    num_simulate: int,
    standardise: bool,
    batch_size: int,
    key: PRNGKeyArray,
) -> GoodnessOfFit:
    split_key, place_key, median_key, key = jr.split(key, 4)
    x = x[jr.permutation(split_key, len(x))]
    seen = x[:first] if first else x
    units = units_of(seen, standardise)
    points, scores = units.apply(x, scores_at(score, x, batch_size))
    seen = points[:first] if first else points
    if locations is None:
        noise = jr.normal(place_key, (num_locations, x.shape[1]), x.dtype)
        deviation = jnp.std(seen, axis=0)[None]
        locations = jnp.mean(seen, axis=0)[None] + noise * deviation
    if bandwidth is None:
        bandwidth = median_distance(seen, median_key)
    places = Places(locations, jnp.log(bandwidth))
    if first:
        places = _train(places, seen, scores[:first], steps, learning_rate)
        points, scores = points[first:], scores[first:]
    n = len(points)
    tau = stein_features(places, points, scores)
    discrepancy, deviation = _moments(tau)
    centred = tau - jnp.mean(tau, axis=0)[None]
    weights = jnp.linalg.eigvalsh(centred.T @ centred / n)
    draws = jr.normal(key, (num_simulate, len(weights)), x.dtype)
    null = (draws**2 - 1) @ weights
    exceed = jnp.sum(null >= n * discrepancy)
    p_value = (1 + exceed.astype(x.dtype)) / (1 + num_simulate)
    p_value = jnp.where(jnp.isfinite(discrepancy), p_value, jnp.nan)
    error = deviation / jnp.sqrt(jnp.asarray(n, x.dtype))
    return GoodnessOfFit(n * discrepancy, p_value, p_value <= alpha, discrepancy, error)


def _train(
    places: Places,
    x: Float[Array, "n dim"],
    s: Float[Array, "n dim"],
    steps: int,
    learning_rate: float,
) -> Places:
    """Places and width of the largest discrepancy over its deviation, a proxy of the power."""
    adam = _adam(learning_rate)

    def loss(places: Places) -> Float[Array, ""]:
        discrepancy, deviation = _moments(stein_features(places, x, s))
        return -discrepancy / (deviation + 1e-4)

    def step(_: Array, carry: tuple[Places, Any]) -> tuple[Places, Any]:
        places, state = carry
        return apply_gradient(adam, jax.grad(loss)(places), state, places)

    with standard_promotion():
        state = adam.init(places)
    return jax.lax.fori_loop(0, steps, step, (places, state))[0]
