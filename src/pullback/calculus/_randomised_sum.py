"""Unbiased sums of infinite series, by random truncation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._truncation import AbstractTruncation, Estimator


def randomised_sum(
    step: Callable[[Any], tuple[Any, Any]],
    state: PyTree,
    truncation: AbstractTruncation,
    stop: Int[Array, "*batch"],
    *,
    exact: int = 0,
    estimator: Estimator = "roulette",
) -> PyTree:
    r"""Estimate the sum of a convergent series from finitely many of its terms, without bias.

    With `exact` = m terms that are always taken and a stopping index $K$,

    $$ \hat S = \sum_{j=1}^{m} t_j + \sum_{k=1}^{K} \frac{t_{m+k}}{P(K \ge k)}
       \quad \text{(Russian roulette)}, \qquad
       \hat S = \sum_{j=1}^{m} t_j + \frac{t_{m+K}}{P(K = K)} \quad \text{(single term)} $$

    Either has the expectation $\sum_{j \le m + \mathrm{cap}} t_j$. Its gradient is the same sum of
    the terms' gradients, so it is unbiased too. The weight counts from the first random term: with
    m exact ones it is $P(K \ge k)$ and not $P(K \ge m + k)$.

    No term after the last that is asked for, over the batch, is computed (under `jax.vmap` all are:
    give `stop` the axes of the batch instead); in the backward pass a term is computed again from
    its state. `ragged_terms` is for terms that can be had one by one.

    Args:
        step: from the state to the next term and the next state. A term is a PyTree whose leaves
            begin with the axes of `stop`.
        state: before the first term.
        truncation: the distribution of the stopping index.
        stop: where each series of the batch is stopped: `truncation.sample(shape, key=key)`.
        exact: m, the number of terms that are always taken.
        estimator: "roulette" or "single", which weighs one term alone.

    Returns:
        The estimates, a PyTree like a term.

    Raises:
        ValueError: `exact` is negative, there is no such `estimator`, or a term does not begin with
            the axes of `stop`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.calculus import Geometric
        >>> truncation = Geometric(0.5)
        >>> stop = truncation.sample((10_000,), key=jax.random.key(0))
        >>> powers = lambda term: (term, term / 4)  # 1 + 1/4 + 1/16 + ... = 4/3
        >>> sums = randomised_sum(powers, jnp.ones(10_000), truncation, stop)
        >>> print(f"{jnp.mean(sums):.2f}")
        1.33

    Source: Kahn, Use of Different Monte Carlo Sampling Techniques (1955); Beatson and Adams,
    Efficient Optimization of Loops and Limits with Randomized Telescoping Sums, arXiv 1905.07006.
    """
    if exact < 0:
        raise ValueError(f"`exact` must be 0 or more, got {exact}.")
    term, _ = jax.eval_shape(step, state)
    for leaf in jax.tree.leaves(term):
        if leaf.shape[: stop.ndim] != stop.shape:
            raise ValueError(
                f"a term must begin with the axes of `stop`, {stop.shape}; got {leaf.shape}."
            )
    last = jnp.max(stop, initial=0)

    def add(carry: tuple, number: Array) -> tuple[tuple, None]:
        def more(carry: tuple) -> tuple:
            total, state = carry
            term, state = step(state)
            k = jnp.broadcast_to(number - exact, stop.shape)
            weight = jnp.where(k <= 0, 1.0, truncation.weight(jnp.maximum(k, 1), stop, estimator))
            return jax.tree.map(lambda t, x: t + _weighted(weight, x), total, term), state

        return jax.lax.cond(number <= exact + last, jax.checkpoint(more), lambda c: c, carry), None

    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), term)
    (total, _), _ = jax.lax.scan(add, (total, state), jnp.arange(1, exact + truncation.cap + 1))
    return total


def _weighted(weight: Array, term: Array) -> Array:
    weight = weight.reshape(weight.shape + (1,) * (term.ndim - weight.ndim))
    # A term that is not used may be infinite.
    return jnp.where(weight == 0, 0, weight.astype(term.dtype) * term)


class RaggedTerms(NamedTuple):
    """The terms that a batch of truncated series asks for, in one flat list.

    Attributes:
        row: of which series, `[entry]`.
        term: its number, from 1 on, `[entry]`.
        mask: False for entries of the padding, which point at term 1 of series 0.
    """

    row: Int[Array | np.ndarray, " entry"]
    term: Int[Array | np.ndarray, " entry"]
    mask: Bool[Array | np.ndarray, " entry"]


def ragged_terms(stop: Int[np.ndarray, " batch"], *, exact: int = 0) -> RaggedTerms:
    """List the terms that are needed, so that one batched call computes these and no others.

    Every series of a batch has its own stopping index, and compiled programs have fixed shapes. The
    list is padded to the next of 4, 5, 6 or 7 times a power of two, so a handful of programs serve
    all draws and at most a fifth of the list is padding.

    Args:
        stop: where each series is stopped, drawn outside of `jax.jit`.
        exact: the number of terms that are always taken.

    Returns:
        The list, row by row, as NumPy arrays.

    Raises:
        ValueError: `stop` is empty, or an entry of it is below 1, or `exact` is negative.

    Example:
        >>> import numpy as np
        >>> needed = ragged_terms(np.array([1, 2]))
        >>> needed.row.tolist(), needed.term.tolist(), needed.mask.tolist()
        ([0, 1, 1], [1, 1, 2], [True, True, True])

    Source: Luo et al., arXiv 2004.00353, whose terms are samples that a network scores.
    """
    stop = np.asarray(stop)
    if stop.size == 0 or stop.min() < 1:
        raise ValueError("`stop` must hold one index or more, each 1 or more.")
    if exact < 0:
        raise ValueError(f"`exact` must be 0 or more, got {exact}.")
    length = stop + exact
    total = int(length.sum())
    step = 1 << max(0, total.bit_length() - 3)
    size = -(-total // step) * step
    row = np.zeros(size, int)
    row[:total] = np.repeat(np.arange(len(stop)), length)
    term = np.ones(size, int)
    term[:total] = np.arange(total) - np.repeat(np.cumsum(length) - length, length) + 1
    return RaggedTerms(row, term, np.arange(size) < total)


def ragged_sum(
    values: Float[Array, "entry *shape"],
    needed: RaggedTerms,
    truncation: AbstractTruncation,
    stop: Int[Array, " batch"],
    *,
    exact: int = 0,
) -> Float[Array, "batch *shape"]:
    """The roulette estimate of each series from the terms of `ragged_terms`.

    Args:
        values: the terms, in the order of `needed`; what stands in the padding is not looked at.
        needed: from `ragged_terms` with the same `stop` and `exact`.
        truncation: the distribution of the stopping index.
        stop: where each series was stopped.
        exact: the number of terms that are always taken.

    Returns:
        The estimates; see `randomised_sum`.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from pullback.calculus import Geometric
        >>> truncation, stop = Geometric(0.5), np.array([1, 2])
        >>> needed = ragged_terms(stop)
        >>> terms = jnp.asarray(0.25 ** (needed.term - 1.0))
        >>> ragged_sum(terms, needed, truncation, jnp.asarray(stop)).tolist()
        [1.0, 1.5]
    """
    row, term, mask = (jnp.asarray(a) for a in needed)
    k = term - exact
    weight = jnp.where(k <= 0, 1.0, truncation.weight(jnp.maximum(k, 1), stop[row]))
    values = _weighted(jnp.where(mask, weight, 0.0), jnp.asarray(values))
    return jax.ops.segment_sum(values, row, num_segments=stop.shape[0])


class TruncationCost(NamedTuple):
    """What truncating one series at random costs.

    Attributes:
        mean: the sum of the given terms, which is the expectation.
        variance: of the estimate.
        terms: the expected number of terms, the exact ones counted.
    """

    mean: float
    variance: float
    terms: float


def truncation_cost(
    terms: Float[np.ndarray, " term"],
    truncation: AbstractTruncation,
    *,
    exact: int = 0,
) -> TruncationCost:
    r"""The variance and the cost of the roulette estimate of a series whose terms are known.

    $$ \mathrm{Var}\,\hat S = \sum_k t_k^2 \Big(\tfrac{1}{P_k} - 1\Big)
       + 2 \sum_{j < k} t_j t_k \Big(\tfrac{1}{P_j} - 1\Big), \qquad P_k = P(K \ge k) $$

    over the terms after the exact ones. Use it to choose a truncation before anything is estimated.

    Args:
        terms: $t_1, t_2, \dots$, at least `exact + truncation.cap` of them; later ones are not
            looked at.
        truncation: the distribution of the stopping index.
        exact: the number of terms that are always taken.

    Raises:
        ValueError: there are too few terms; or the series, or the variance, does not converge: over
            the last half of the terms, their size, or that of $t_k^2 / P_k$, does not fall.

    Example:
        >>> import numpy as np
        >>> from pullback.calculus import Geometric
        >>> found = truncation_cost(0.5 ** np.arange(200), Geometric(0.5))
        >>> print(f"{found.mean:.3f} {found.variance:.3f} {found.terms:.3f}")
        2.000 2.000 2.000

    Source: McLeish, A General Method for Debiasing a Monte Carlo Estimator, Monte Carlo Methods and
    Applications 17 (2011); Rhee and Glynn, Operations Research 63 (2015).
    """
    terms = np.asarray(terms, np.float64)[: exact + truncation.cap]
    if len(terms) < exact + truncation.cap:
        raise ValueError(
            f"`terms` must have {exact + truncation.cap} entries for this truncation, got "
            f"{len(terms)}."
        )
    tail = terms[exact:]
    share = np.asarray(truncation.survival(jnp.arange(1, truncation.cap + 1)), np.float64)
    grown = np.square(tail) / share
    half, end = truncation.cap // 2, max(1, truncation.cap // 10)
    for what, size in (("`terms`", np.abs(tail)), ("the variance's terms t^2 / P", grown)):
        if not np.all(np.isfinite(size)) or size[-end:].sum() > size[half : half + end].sum() > 0:
            raise ValueError(
                f"{what} do not fall from number {exact + half} to {exact + truncation.cap}: take "
                "a truncation with a heavier tail, a smaller `cap`, or another series."
            )
    earlier = np.concatenate([[0.0], np.cumsum(tail * (1 / share - 1))[:-1]])
    variance = np.sum(np.square(tail) * (1 / share - 1)) + 2 * np.sum(tail * earlier)
    return TruncationCost(float(terms.sum()), float(variance), exact + float(share.sum()))
