"""The log-evidence without bias: importance-weighted bounds summed to infinity, at random."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from pullback.calculus import (
    AbstractTruncation,
    Multilevel,
    RaggedTerms,
    multilevel_estimate,
    ragged_sum,
)
from pullback.sampling import log_mean_exp


def sumo(
    log_weights: Float[Array, " sample"],
    stop: Int[Array, ""],
    truncation: AbstractTruncation,
    *,
    exact: int = 1,
) -> Float[Array, ""]:
    r"""The SUMO estimate of $\log p(x)$ from one stream of importance weights.

    $$ \mathrm{SUMO} = \mathcal{L}_m + \sum_{j=1}^{K}
       \frac{\mathcal{L}_{m+j} - \mathcal{L}_{m+j-1}}{P(K \ge j)}, \qquad
       \mathcal{L}_k = \log \frac1k \sum_{i \le k} w_i $$

    with $m$ = `exact`. Its expectation is that of $\mathcal{L}_{m + \mathrm{cap}}$, and so is its
    gradient's: of $\log p(x)$ but for about $\mathrm{Var}(w/p(x)) / 2 (m + \mathrm{cap})$. Samples
    beyond $m + K$ are not looked at, though they were computed: `ragged_sumo` is for those who
    would not pay for them.

    No distribution of K gives both a finite variance and a finite cost without the cap; draws far
    out are rare and large, so judge by a median of means and the worst draw.
    `multilevel_log_evidence` has both finite. The expectation does not depend on the posterior,
    which is therefore trained to lower the variance,
    $\nabla_\phi \mathbb{E}[(\mathrm{SUMO} - c)^2]$ with c near the mean, or by an
    importance-weighted bound on the same weights.

    Args:
        log_weights: of independent samples, `exact + truncation.cap` of them.
        stop: K, from `truncation.sample(key=key)`.
        truncation: the distribution of K; the paper's is
            `HarmonicTail(switch=80, rate=0.1, cap=...)`.
        exact: m, the samples that are always taken.

    Returns:
        The estimate.

    Raises:
        ValueError: `exact` is below 1, or there are too few weights.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from pullback.calculus import HarmonicTail
        >>> truncation = HarmonicTail(cap=100)
        >>> weights = jnp.full(101, -3.0)  # the posterior is exact: all weights are p(x)
        >>> float(sumo(weights, truncation.sample(key=jax.random.key(0)), truncation))
        -3.0

    Source: Luo et al., SUMO: Unbiased Estimation of Log Marginal Probability for Latent Variable
    Models, arXiv 2004.00353.
    """
    if exact < 1:
        raise ValueError(f"`exact` must be 1 or more, got {exact}.")
    needed = exact + truncation.cap
    if len(log_weights) < needed:
        raise ValueError(
            f"`log_weights` must be {needed}, `exact` + `truncation.cap`, got {len(log_weights)}."
        )
    log_weights = log_weights[:needed]
    k = jnp.arange(1, needed + 1)
    bounds = jax.lax.cumlogsumexp(log_weights) - jnp.log(k.astype(log_weights.dtype))
    j = jnp.arange(1, truncation.cap + 1)
    weight = truncation.weight(j, jnp.broadcast_to(stop, j.shape)).astype(bounds.dtype)
    rises = jnp.diff(bounds[exact - 1 :])
    # Where a weight is zero nothing may flow back: the sample may be far out.
    return bounds[exact - 1] + jnp.sum(jnp.where(weight == 0, 0, weight * rises))


def ragged_sumo(
    log_weights: Float[Array, " entry"],
    needed: RaggedTerms,
    truncation: AbstractTruncation,
    stop: Int[Array, " batch"],
    *,
    exact: int = 1,
) -> Float[Array, " batch"]:
    """The SUMO estimates of a batch from only the samples that they need, in one flat list.

    Draw `stop` outside of `jax.jit`, list the samples by `ragged_terms(stop, exact=exact)`, and
    compute one log-weight for each entry: that of a fresh sample for the example `needed.row`. The
    expected cost is `exact + truncation.mean()` weights an example.

    Args:
        log_weights: one for each entry of `needed`; what stands in the padding is not looked at.
        needed: from `pullback.calculus.ragged_terms`, with the same `stop` and `exact`.
        truncation: the distribution of the stopping index.
        stop: K of each example: `truncation.sample((batch,), key=key)`.
        exact: m, the samples that are always taken.

    Returns:
        The estimates; see `sumo`.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from pullback.calculus import HarmonicTail, ragged_terms
        >>> truncation, stop = HarmonicTail(cap=100), np.array([1, 3])
        >>> needed = ragged_terms(stop, exact=1)
        >>> log_weights = jnp.asarray(-1.0 - needed.row)
        >>> ragged_sumo(log_weights, needed, truncation, jnp.asarray(stop), exact=1).tolist()
        [-1.0, -2.0]

    Source: Luo et al., arXiv 2004.00353.
    """
    if exact < 1:
        raise ValueError(f"`exact` must be 1 or more, got {exact}.")
    term = jnp.asarray(needed.term)
    first = term == 1
    log_weights = jnp.where(jnp.asarray(needed.mask), log_weights, 0)
    bounds = _running_log_sum(log_weights, first) - jnp.log(term.astype(log_weights.dtype))
    before = jnp.where(first, 0, jnp.roll(bounds, 1))
    return ragged_sum(bounds - before, needed, truncation, stop, exact=exact)


def _running_log_sum(
    values: Float[Array, " entry"], first: Bool[Array, " entry"]
) -> Float[Array, " entry"]:
    """The running log-sum-exp, which begins anew where `first`."""

    def join(a: tuple, b: tuple) -> tuple:
        (left, left_first), (right, right_first) = a, b
        both = jnp.where(right_first, right, jnp.logaddexp(left, right))
        return both, left_first | right_first

    return jax.lax.associative_scan(join, (values, first))[0]


def multilevel_log_evidence(
    log_weights: Float[Array, " sample"],
    stop: int,
    multilevel: Multilevel = Multilevel(),  # noqa: B008, frozen
) -> Float[Array, ""]:
    r"""An estimate of $\log p(x)$ by a random level: variance and cost are both finite.

    `multilevel_estimate` of the log of the mean weight: at the base $\mathcal{L}_{n_0}$, and at a
    random level L the bound of $2^{L+1} n_0$ fresh samples less the mean of those of its halves,
    over the probability of the level. It is the estimate to take by default; `sumo` is the paper's.

    Args:
        log_weights: `multilevel.samples(stop)` of them.
        stop: one plus the level, a Python number, from `multilevel.truncation.sample(key=key)`.
        multilevel: the base $n_0$ and the truncation.

    Raises:
        ValueError: `stop` is not in 1, ..., cap, or there are not as many weights.

    Example:
        >>> import jax.numpy as jnp
        >>> from pullback.calculus import Multilevel
        >>> plan = Multilevel(base=8)
        >>> float(multilevel_log_evidence(jnp.full(plan.samples(2), -3.0), 2, plan))
        -3.0

    Source: Shi and Cornish, On Multilevel Monte Carlo Unbiased Gradient Estimation for Deep Latent
    Variable Models, AISTATS (2021); Goda and Ishikawa, arXiv 1902.10394.
    """
    return multilevel_estimate(log_mean_exp, log_weights, stop, multilevel)


def ragged_multilevel(
    log_weights: Float[Array, " entry"],
    needed: RaggedTerms,
    stop: Int[Array, " batch"],
    multilevel: Multilevel = Multilevel(),  # noqa: B008, frozen
) -> Float[Array, " batch"]:
    """`multilevel_log_evidence` of a batch from one flat list of samples.

    Draw `stop` outside of `jax.jit` and list the samples by `ragged_terms` of their numbers,
    `multilevel.samples(stop)`, with `stop` a NumPy array.

    Args:
        log_weights: one for each entry of `needed`.
        needed: which example each entry is for.
        stop: one plus the level of each example.
        multilevel: the base and the truncation.

    Returns:
        The estimates.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from pullback.calculus import Multilevel, ragged_terms
        >>> plan, stop = Multilevel(base=2), np.array([1, 3])
        >>> needed = ragged_terms(plan.samples(stop))
        >>> log_weights = jnp.asarray(-1.0 - needed.row)
        >>> ragged_multilevel(log_weights, needed, jnp.asarray(stop), plan).tolist()
        [-1.0, -2.0]

    Source: as `multilevel_log_evidence`.
    """
    base, batch = multilevel.base, stop.shape[0]
    log_weights = jnp.where(jnp.asarray(needed.mask), log_weights, 0)
    row, term = jnp.asarray(needed.row), jnp.asarray(needed.term)
    half = base * 2 ** (stop - 1)
    # 0 for the base, 1 and 2 for the halves.
    part = jnp.where(term <= base, 0, jnp.where(term <= base + half[row], 1, 2))
    group = jnp.where(jnp.asarray(needed.mask), 3 * row + part, 3 * batch)
    top = jax.lax.stop_gradient(jax.ops.segment_max(log_weights, group, num_segments=3 * batch + 1))
    total = jax.ops.segment_sum(
        jnp.exp(log_weights - top[group]), group, num_segments=3 * batch + 1
    )
    log_sum = (jnp.log(total) + top)[:-1].reshape(batch, 3)
    log_half = jnp.log(half.astype(log_sum.dtype))
    first, second = log_sum[:, 1] - log_half, log_sum[:, 2] - log_half
    whole = jnp.logaddexp(first, second) - jnp.log(jnp.asarray(2, first.dtype))
    share = multilevel.truncation.probability(stop).astype(first.dtype)
    log_base = jnp.log(jnp.asarray(base, first.dtype))
    return log_sum[:, 0] - log_base + (whole - (first + second) / 2) / share
