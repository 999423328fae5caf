"""The kernel Stein discrepancy and its test: the baseline of the learned one."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback._traced import compiled
from pullback.analysis._dependent_draws import (
    check_correlation_length,
    variance_of_mean,
    wild_signs,
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

Kernel = Literal["rbf", "imq"]
_FOR_MEDIAN = 500  # points whose distances the median is taken of


def kernel_stein_test(
    x: Points,
    *,
    score: Callable[[Any], Any] | None = None,
    log_prob: Callable[[Any], Any] | None = None,
    kernel: Kernel = "rbf",
    bandwidth: float | Float[Array, ""] | None = None,
    alpha: float = 0.05,
    num_bootstrap: int = 500,
    standardise: bool = True,
    correlation_length: float | int | Float[Array, ""] | None = None,
    batch_size: int = 256,
    key: PRNGKeyArray,
) -> GoodnessOfFit:
    r"""Test whether a model fits data, by the kernel Stein discrepancy.

    $$ \mathrm{KSD}^2 = \frac{1}{n(n-1)} \sum_{i \ne j} u_q(x_i, x_j), \qquad
       u_q = s \cdot s' k + s \cdot \nabla' k + s' \cdot \nabla k + \mathrm{tr} \nabla \nabla' k $$

    with $k = \exp(-r^2 / 2h^2)$ or, of heavier tails, $(1 + r^2 / h^2)^{-1/2}$. The p-value is by
    the wild bootstrap: the same sum with a random sign for each point. All points are used and
    nothing is trained, at a cost of $n^2$; in many dimensions, or where the difference is at a
    scale far from the kernel's, it sees little and `goodness_of_fit` may see more.

    Draws of a Markov chain depend on the ones before them, and a test that takes them as
    independent rejects the chain's own target. With a `correlation_length` $\ell$ the signs of rows
    that are k apart agree with the correlation $e^{-k / \ell}$: take some five to ten times the
    rows over which the chain forgets, and far fewer than there are.

    Args:
        x: draws from the data's distribution, `[n, dim]`: independent ones, or with
            `correlation_length` in the order in which a chain made them (several chains one after
            another).
        score: the gradient of the model's log-density at one point. This or `log_prob`.
        log_prob: the model's log-density at one point, with any constant.
        kernel: "rbf" or "imq".
        bandwidth: h, in the units of `standardise`; None: the median distance, of 500 points.
        alpha: the level: how often a model that is right is rejected.
        num_bootstrap: draws of signs.
        standardise: shift and scale each column by the data.
        correlation_length: $\ell$, in rows; None: the draws are independent.
        batch_size: rows of the matrix of pairs held in memory at once.
        key: for the points of the median, and the signs.

    Returns:
        A `GoodnessOfFit`: `statistic` is $n\, \mathrm{KSD}^2$, `discrepancy` $\mathrm{KSD}^2$.

    Raises:
        ValueError: as `goodness_of_fit`, or `kernel` is unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = 1.0 + jax.random.normal(jax.random.key(0), (100, 2))
        >>> found = kernel_stein_test(x, score=lambda x: -x, key=jax.random.key(1))
        >>> bool(found.reject)
        True

    Source: Liu, Lee and Jordan, A Kernelized Stein Discrepancy for Goodness-of-fit Tests, arXiv
        1602.03253; Chwialkowski et al., arXiv 1602.02964, section 3, for the wild bootstrap, and of
        draws that depend on each other.
    """
    key = checked_key(key)
    x = checked_points(x)
    check_level(alpha)
    check_counts(num_bootstrap=num_bootstrap, batch_size=batch_size)
    if kernel not in get_args(Kernel):
        raise ValueError(f"`kernel` must be one of {get_args(Kernel)}, got {kernel!r}.")
    check_bandwidth(bandwidth)
    field = checked_score(score, log_prob, x)
    if bandwidth is not None:
        bandwidth = jnp.asarray(bandwidth, x.dtype)
    check_correlation_length(correlation_length, len(x))
    if correlation_length is not None:
        correlation_length = jnp.asarray(correlation_length, x.dtype)
    result = _test(
        x, field, kernel, bandwidth, alpha, num_bootstrap, standardise, correlation_length,
        batch_size, key,
    )  # fmt: skip
    return checked_result(result, field, x, batch_size, advice=ADVICE)


ADVICE = (
    "the kernel or the squares of the scores are beyond the dtype: give another `bandwidth`, or "
    "take float64 (jax_enable_x64)"
)


def check_bandwidth(bandwidth: Any) -> None:
    if isinstance(bandwidth, float | int) and not bandwidth > 0:
        raise ValueError(f"`bandwidth` must be above 0, got {bandwidth}.")


@compiled
def _test(
    x: Float[Array, "n dim"],
    score: Any,
    kernel: Kernel,
    bandwidth: Float[Array, ""] | None,
    alpha: float,
    num_bootstrap: int,
    standardise: bool,
    correlation_length: Float[Array, ""] | None,
    batch_size: int,
    key: PRNGKeyArray,
) -> GoodnessOfFit:
    median_key, sign_key = jr.split(key)
    units = units_of(x, standardise)
    points, scores = units.apply(x, scores_at(score, x, batch_size))
    if bandwidth is None:
        bandwidth = median_distance(points, median_key)
    n = len(x)
    # In whole units of the dtype: signs are exact, and the product is one of floats.
    signs = wild_signs((n, num_bootstrap), correlation_length, x.dtype, sign_key)

    def rows(block: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        """Of some points: the mean of u with all others, and their part of each bootstrap sum."""
        x, s, w, own = block
        u = stein_kernel(x, s, points, scores, kernel, bandwidth)
        u = jnp.where(own[:, None] == jnp.arange(n)[None], 0, u)
        return jnp.sum(u, axis=1), jnp.sum(w * (u @ signs), axis=0)

    size = min(batch_size, n)
    whole = n // size * size
    everything = (points, scores, signs, jnp.arange(n))
    blocks = jax.tree.map(
        lambda leaf: leaf[:whole].reshape(whole // size, size, *leaf.shape[1:]), everything
    )
    sums, bootstrap = jax.lax.map(rows, blocks)
    sums, bootstrap = sums.reshape(-1), jnp.sum(bootstrap, axis=0)
    if whole < n:
        rest, more = rows(jax.tree.map(lambda leaf: leaf[whole:], everything))
        sums, bootstrap = jnp.concatenate([sums, rest]), bootstrap + more
    means = sums / (n - 1)
    discrepancy = jnp.mean(means)
    exceed = jnp.sum(bootstrap / (n - 1) >= n * discrepancy)
    p_value = (1 + exceed.astype(x.dtype)) / (1 + num_bootstrap)
    p_value = jnp.where(jnp.isfinite(discrepancy), p_value, jnp.nan)
    error = 2 * jnp.sqrt(variance_of_mean(means, correlation_length))
    return GoodnessOfFit(n * discrepancy, p_value, p_value <= alpha, discrepancy, error)


def median_distance(x: Float[Array, "n dim"], key: PRNGKeyArray) -> Float[Array, ""]:
    """The median distance between two of the points, of a random 500 where there are more.

    Where more than half of the pairs are ties it is that of the others: a width of 0 is none.
    """
    if len(x) > _FOR_MEDIAN:
        x = x[jr.permutation(key, len(x))[:_FOR_MEDIAN]]
    n = len(x)
    # Not by the products: of points that are alike their rounding is no distance of 0.
    row = lambda point: jnp.sum(jnp.square(x - point[None]), axis=1)
    squares = jnp.sort(jax.lax.map(row, x, batch_size=min(n, 16)).ravel())
    # The n zeros of the diagonal come first, then every pair twice.
    median = squares[n + n * (n - 1) // 2]
    ties = jnp.sum(squares == 0)
    apart = squares[jnp.minimum(ties + (n * n - ties) // 2, n * n - 1)]
    return jnp.sqrt(jnp.where(median > 0, median, jnp.where(apart > 0, apart, 1)))


def squared_distances(x: Float[Array, "n dim"], y: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    # Distances do not ask where the points lie, and the products' rounding does.
    x, y = x - y[:1], y - y[:1]
    squares = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(y**2, axis=1)[None]
    return jnp.maximum(squares - 2 * (x @ y.T), 0)


def radial_profile(
    r2: Float[Array, "..."], kernel: Kernel, bandwidth: Float[Array, ""]
) -> tuple[Array, Array, Array]:
    """The kernel as a function of the squared distance, with its first and second derivative."""
    h2 = bandwidth**2
    if kernel == "rbf":
        k = jnp.exp(-r2 / (2 * h2))
        return k, -k / (2 * h2), k / (4 * h2**2)
    k = jax.lax.rsqrt(1 + r2 / h2)
    return k, -(k**3) / (2 * h2), 3 * k**5 / (4 * h2**2)


def stein_kernel(
    x: Float[Array, "n dim"],
    s: Float[Array, "n dim"],
    y: Float[Array, "m dim"],
    t: Float[Array, "m dim"],
    kernel: Kernel,
    bandwidth: Float[Array, ""],
) -> Float[Array, "n m"]:
    r"""$u_q(x_i, y_j)$ of points x with scores s and points y with scores t."""
    r2 = squared_distances(x, y)
    x, y = x - y[:1], y - y[:1]
    k, first, second = radial_profile(r2, kernel, bandwidth)
    along = lambda a, b: jnp.sum(a * b, axis=1)
    # (t_j - s_i) . (x_i - y_j), without an array of all pairs and dimensions.
    cross = x @ t.T + s @ y.T - along(y, t)[None] - along(x, s)[:, None]
    return (s @ t.T) * k + 2 * first * cross - 4 * second * r2 - 2 * x.shape[1] * first
