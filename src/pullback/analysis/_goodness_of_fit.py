"""Does a model fit the data? A test by a learned Stein discrepancy, and a ranking of models."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from pullback._key import checked_key
from pullback._traced import compiled
from pullback.analysis._dependent_draws import (
    check_correlation_length,
    survival,
    variance_of_mean,
)
from pullback.analysis._stein_critic import CriticField, CriticPlan, ScoredPoints, train_critic
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
from pullback.calculus import AbstractDivergence, HutchinsonDivergence, stein_terms

_FEWEST = 10  # points of the test part, whose mean is taken to be normal


def goodness_of_fit(
    x: Points,
    *,
    score: Callable[[Any], Any] | None = None,
    log_prob: Callable[[Any], Any] | None = None,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    alpha: float = 0.05,
    critic: Any = None,
    width: int = 128,
    l2: float = 0.5,
    power: bool = True,
    steps: int = 1000,
    batch_size: int = 800,
    evaluate_every: int = 100,
    optimiser: optax.GradientTransformation | None = None,
    divergence: AbstractDivergence | None = None,
    standardise: bool = True,
    correlation_length: float | int | Float[Array, ""] | None = None,
    key: PRNGKeyArray,
) -> GoodnessOfFit:
    r"""Test whether a model fits data, by a critic that learns where it does not.

    $$ z = \sqrt m\, \frac{\mathrm{mean}\, \mathcal{A}_q f(x_i)}{\mathrm{std}\, \mathcal{A}_q
       f(x_i)}, \qquad
       \mathcal{A}_q f = s_q \cdot f + \mathrm{tr} \frac{\partial f}{\partial x} $$

    The model may be unnormalised: its score is all that is used. A net f is trained on the first
    part of the data, chosen on the second, and tested on the third, where a model that fits has z
    standard normal. The whole test is one compiled program; `eqx.filter_vmap` repeats it.

    When to take another test: with few points (under about 1,000) in many dimensions a kernel test
    uses all of them and may see more. All tests by the score are blind to the weights of modes that
    lie far apart. On a bounded support map the variables to the whole line first, by
    `pullback.sampling.SupportMap`.

    Of the draws of a Markov chain give the `correlation_length` $\ell$: the parts are then taken in
    the order of the rows, and the variance of the mean is
    $\frac1{m^2} \sum_{ij} e^{-|i-j| / \ell} c_i c_j$ of the centred values c, in place of that of
    independent ones, by which the chain's own target would be rejected. It is known as well as the
    variance of $m / \ell$ independent values, so that z is compared with Student's t.

    Args:
        x: draws from the data's distribution, `[n, dim]`: independent ones, or with
            `correlation_length` in the order in which a chain made them.
        score: the gradient of the model's log-density at one point. This or `log_prob`.
        log_prob: the model's log-density at one point, with any constant.
        split: shares of the points to train on, to choose by, and to test on; they add up to 1.
        alpha: the level: how often a model that is right is rejected.
        critic: the net, from `[dim]` to `[dim]` in the units of `standardise`; by default an MLP
            of two hidden layers.
        width: of the default net's layers.
        l2: lambda, of the penalty on the mean squared norm of the critic.
        power: train for the mean over the deviation, which is what the test looks at; False: for
            the mean, which is the discrepancy.
        steps: of training.
        batch_size: points in a step of training, and the most whose scores and exact traces are
            held in memory at once.
        evaluate_every: steps between two looks at the second part.
        optimiser: AdamW of rate 1e-3 and decay 5e-4 by default.
        divergence: for the trace in training; by default one Rademacher probe. The trace is exact
            in choosing and in testing.
        standardise: shift and scale each column by the first part.
        correlation_length: $\ell$, in rows, some five to ten times those over which the chain
            forgets; None: the draws are independent.
        key: for the split, the net and the training.

    Returns:
        A `GoodnessOfFit`. `discrepancy` is the mean of the operator under the critic at its best
        multiple on the second part: at the best critic $\mathrm{E} \|s_q - s_p\|^2 / (2 \lambda)$,
        in standardised units. `critic` then is $\sigma^2 (s_q - s_p) / (2 \lambda)$ in those of the
        data: it points to where the model has too much mass. Under `vmap` a score that is not
        finite gives a statistic of NaN, which does not reject.

    Raises:
        ValueError: neither or both of `score` and `log_prob` are given or they have another shape;
            x is not finite or has too few rows for the split; the model's support is seen to have
            an end; or an argument is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = 1.0 + jax.random.normal(jax.random.key(0), (400, 2))
        >>> found = goodness_of_fit(
        ...     x, log_prob=lambda x: -jnp.sum(x**2) / 2, width=16, steps=100, batch_size=64,
        ...     key=jax.random.key(1))
        >>> bool(found.reject)
        True

    Source: Grathwohl et al., Learning the Stein Discrepancy for Training and Evaluating
        Energy-Based Models without Sampling, arXiv 2002.05616, section 4.1.
    """
    key = checked_key(key)
    x = checked_points(x)
    check_level(alpha)
    plan = _plan(steps, evaluate_every, batch_size, l2, power, optimiser, divergence)
    sizes = _sizes(len(x), split)
    field = checked_score(score, log_prob, x)
    _check_critic(critic, x)
    check_counts(width=width)
    check_correlation_length(correlation_length, sizes[2])
    if correlation_length is not None:
        correlation_length = jnp.asarray(correlation_length, x.dtype)
    result = _test(
        x, field, critic, width, plan, sizes, alpha, standardise, correlation_length, key
    )
    return checked_result(
        result, field, x, batch_size,
        advice="the critic may have diverged: give an `optimiser` of a smaller rate, or a larger "
        "`l2`",
    )  # fmt: skip


def compare_models(
    scores: Mapping[str, Callable[[Any], Any]],
    x: Points,
    *,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    alpha: float = 0.05,
    critic: Any = None,
    width: int = 128,
    l2: float = 0.5,
    steps: int = 1000,
    batch_size: int = 800,
    evaluate_every: int = 100,
    optimiser: optax.GradientTransformation | None = None,
    divergence: AbstractDivergence | None = None,
    standardise: bool = True,
    key: PRNGKeyArray,
) -> dict[str, GoodnessOfFit]:
    r"""Rank unnormalised models by how far they are from data, the nearest first.

    $$ \frac{1}{2\lambda}\, \mathrm{E}_p \|s_q - s_p\|^2 \quad\text{of each model } q $$

    Each model has a critic of its own, trained for the mean and not for power, from the same split
    of the data and the same start. Neither normalisers nor samples are needed, so that models of
    different kinds can be compared.

    Args:
        scores: the score of each model at one point, by name; of a log-density `jax.grad`.
        x: independent draws from the data's distribution, `[n, dim]`.
        split: as in `goodness_of_fit`.
        alpha: the same.
        critic: the same.
        width: the same.
        l2: the same.
        steps: the same.
        batch_size: the same.
        evaluate_every: the same.
        optimiser: the same.
        divergence: the same.
        standardise: the same.
        key: the same.

    Returns:
        A `GoodnessOfFit` for each name, the lowest discrepancy first. The p-value is that of the
        test with this critic; the test of `goodness_of_fit` has more power.

    Raises:
        ValueError: there is no model, or as `goodness_of_fit`.

    Example:
        >>> import jax
        >>> x = jax.random.normal(jax.random.key(0), (400, 2))
        >>> found = compare_models(
        ...     {"shifted": lambda x: 2 - x, "right": lambda x: -x}, x, width=16, steps=100,
        ...     batch_size=64, key=jax.random.key(1))
        >>> list(found)
        ['right', 'shifted']

    Source: Grathwohl et al., arXiv 2002.05616, section 4.2.
    """
    key = checked_key(key)
    if not scores:
        raise ValueError("`scores` must hold at least one model, by name; it is empty.")
    found = {
        name: goodness_of_fit(
            x, score=score, split=split, alpha=alpha, critic=critic, width=width, l2=l2,
            power=False, steps=steps, batch_size=batch_size, evaluate_every=evaluate_every,
            optimiser=optimiser, divergence=divergence, standardise=standardise, key=key,
        )
        for name, score in scores.items()
    }  # fmt: skip
    return dict(sorted(found.items(), key=lambda pair: float(pair[1].discrepancy)))


def _default_optimiser() -> optax.GradientTransformation:
    return optax.adamw(1e-3, weight_decay=5e-4)


def _plan(
    steps: int,
    evaluate_every: int,
    batch_size: int,
    l2: float,
    power: bool,
    optimiser: optax.GradientTransformation | None,
    divergence: AbstractDivergence | None,
) -> CriticPlan:
    check_counts(steps=steps, evaluate_every=evaluate_every)
    if batch_size < 2:
        raise ValueError(f"`batch_size` must be at least 2, got {batch_size}.")
    if not l2 > 0:
        raise ValueError(
            f"`l2` must be above 0, for without a penalty a critic grows without end; got {l2}."
        )
    return CriticPlan(
        steps, evaluate_every, batch_size, l2, power,
        _default_optimiser() if optimiser is None else optimiser,
        HutchinsonDivergence() if divergence is None else divergence,
    )  # fmt: skip


def _sizes(n: int, split: tuple[float, float, float]) -> tuple[int, int, int]:
    if len(split) != 3 or min(split) <= 0 or abs(sum(split) - 1) > 1e-6:
        raise ValueError(f"`split` must be three shares above 0 that add up to 1, got {split}.")
    train, validation = round(split[0] * n), round(split[1] * n)
    test = n - train - validation
    if train < 2 or validation < 2 or test < _FEWEST:
        raise ValueError(
            f"`x` has {n} rows, of which `split` = {split} leaves {train} to train on, "
            f"{validation} to choose by and {test} to test on; the last must be {_FEWEST} or more, "
            "the others 2. Give more rows or another split, or take `kernel_stein_test`, which "
            "needs no split."
        )
    return train, validation, test


def _check_critic(critic: Any, x: Float[Array, "n dim"]) -> None:
    if critic is None:
        return
    found = eqx.filter_eval_shape(critic, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))
    if not isinstance(found, jax.ShapeDtypeStruct) or found.shape != x.shape[1:]:
        raise ValueError(
            f"`critic` must map a point of shape {x.shape[1:]} to a vector of that shape; it gave "
            f"{found}."
        )


@compiled
def _test(
    x: Float[Array, "n dim"],
    score: Any,
    critic: Any,
    width: int,
    plan: CriticPlan,
    sizes: tuple[int, int, int],
    alpha: float,
    standardise: bool,
    correlation_length: Float[Array, ""] | None,
    key: PRNGKeyArray,
) -> GoodnessOfFit:
    split_key, net_key, key = jr.split(key, 3)
    if correlation_length is None:
        x = x[jr.permutation(split_key, len(x))]
    units = units_of(x[: sizes[0]], standardise)
    points = ScoredPoints(*units.apply(x, scores_at(score, x, plan.batch_size)))
    bounds = (0, sizes[0], sizes[0] + sizes[1], len(x))
    train, validation, test = (
        jax.tree.map(lambda leaf, a=a, b=b: leaf[a:b], points)
        for a, b in itertools.pairwise(bounds)
    )
    if critic is None:
        dim = x.shape[1]
        critic = eqx.nn.MLP(dim, dim, width, 2, jax.nn.swish, dtype=x.dtype, key=net_key)
    net, factor = train_critic(critic, train, validation, plan, key)
    values = stein_terms(net, test.scores, test.x, batch_size=plan.batch_size).operator
    mean = jnp.mean(values)
    error = jnp.sqrt(variance_of_mean(values, correlation_length))
    statistic = mean / error
    p_value = survival(statistic, sizes[2], correlation_length)
    return GoodnessOfFit(
        statistic,
        p_value,
        p_value <= alpha,
        factor * mean,
        factor * error,
        CriticField(net, units, factor),
    )
