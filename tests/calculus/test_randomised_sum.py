"""Random truncation: by enumeration of the stopping index, and by distributions in closed form."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from pullback.calculus import (
    Geometric,
    HarmonicTail,
    Multilevel,
    diagnose_draws,
    multilevel_batch,
    multilevel_estimate,
    ragged_sum,
    ragged_terms,
    randomised_sum,
    truncation_cost,
)

TRUNCATIONS = [Geometric(0.6, cap=20), HarmonicTail(switch=5, rate=0.3, cap=20)]
TERMS = jnp.asarray((1 + 0.5 * np.sin(np.arange(40))) * (-0.7) ** np.arange(40))


def indexed(scale=1.0):
    """The series of `TERMS`, one after the other; the state is the place."""
    return lambda place: (scale * TERMS[place] * jnp.ones_like(place, float), place + 1)


def every_stop(truncation):
    stop = jnp.arange(1, truncation.cap + 1)
    return stop, truncation.probability(stop)


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("estimator", ["roulette", "single"])
@pytest.mark.parametrize("exact", [0, 1, 5])
def test_the_mean_over_every_stop_is_the_sum_and_its_gradient(truncation, estimator, exact):
    stop, probability = every_stop(truncation)

    def mean(scale):
        start = jnp.zeros(stop.shape, int)
        sums = randomised_sum(
            indexed(scale), start, truncation, stop, exact=exact, estimator=estimator
        )
        return jnp.sum(probability * sums)

    value, slope = jax.value_and_grad(mean)(jnp.asarray(1.5))
    whole = float(jnp.sum(TERMS[: exact + truncation.cap]))
    assert value == pytest.approx(1.5 * whole, rel=1e-12)
    assert slope == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_the_variance_over_every_stop_is_the_formulas(truncation):
    stop, probability = every_stop(truncation)
    for exact in (0, 3):
        sums = randomised_sum(indexed(), jnp.zeros(stop.shape, int), truncation, stop, exact=exact)
        cost = truncation_cost(np.asarray(TERMS), truncation, exact=exact)
        mean = jnp.sum(probability * sums)
        assert cost.mean == pytest.approx(float(mean), rel=1e-12)
        expected = jnp.sum(probability * jnp.square(sums - mean))
        assert cost.variance == pytest.approx(float(expected), rel=1e-9)
        assert cost.terms == pytest.approx(exact + float(jnp.sum(probability * stop.astype(float))))


def test_terms_after_the_last_stop_are_not_computed():
    computed = []

    def step(place):
        jax.debug.callback(lambda k: computed.append(int(k)), place[0])
        # From the fourth on they are infinite: neither the value nor the gradient may see one.
        return jnp.where(place < 4, 1.0, jnp.inf), place + 1

    stop = jnp.array([2, 3])
    start = jnp.zeros(2, int)
    total = jax.jit(lambda stop: randomised_sum(step, start, Geometric(0.5), stop, exact=1))(stop)
    jax.effects_barrier()
    assert sorted(computed) == [0, 1, 2, 3]
    np.testing.assert_allclose(total, [1 + 1 + 2, 1 + 1 + 2 + 4])


def test_terms_may_be_vectors_and_trees():
    step = lambda state: ({"a": state, "b": jnp.sum(state, axis=1)}, state / 3)
    truncation, stop = Geometric(0.5, cap=60), jnp.array([1, 4])
    start = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    found = randomised_sum(step, start, truncation, stop)
    weights = np.array([1.0, 1 + 2 / 3 + 4 / 9 + 8 / 27])
    np.testing.assert_allclose(found["a"], start * weights[:, None])
    np.testing.assert_allclose(found["b"], jnp.sum(start, axis=1) * weights)


@pytest.mark.parametrize("exact", [0, 3])
def test_a_ragged_list_has_every_term_once_and_the_same_sum(exact):
    truncation = HarmonicTail(switch=5, rate=0.3, cap=20)
    stop = np.asarray(truncation.sample((7,), key=jr.key(0)))
    needed = ragged_terms(stop, exact=exact)
    pairs = list(zip(needed.row[needed.mask], needed.term[needed.mask], strict=True))
    expected = [(i, k) for i, last in enumerate(stop) for k in range(1, exact + last + 1)]
    assert pairs == expected
    size, total = len(needed.row), len(expected)
    assert size in [m * 2**n for m in (4, 5, 6, 7) for n in range(12)] + [1, 2, 3]
    assert total <= size <= 1.25 * total
    values = jnp.where(needed.mask, TERMS[needed.term - 1], jnp.nan)
    found = ragged_sum(values, needed, truncation, jnp.asarray(stop), exact=exact)
    start = jnp.zeros(len(stop), int)
    np.testing.assert_allclose(
        found,
        randomised_sum(indexed(), start, truncation, jnp.asarray(stop), exact=exact),
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    "truncation",
    [Geometric(0.5, cap=1000), Geometric(0.9, cap=7), HarmonicTail(cap=1000), HarmonicTail()],
)
def test_draws_have_the_distribution(truncation):
    draws = np.asarray(truncation.sample((1_000_000,), key=jr.key(1)))
    assert draws.min() == 1
    assert draws.max() <= truncation.cap
    k = np.arange(1, truncation.cap + 1)
    expected = 1e6 * np.asarray(truncation.probability(jnp.asarray(k)))
    assert expected.sum() == pytest.approx(1e6)
    bins = np.minimum(np.cumsum(expected) // 200, 1e6 // 200 - 1).astype(int)
    counts = np.bincount(draws - 1, minlength=truncation.cap)
    seen, wanted = (np.bincount(bins, weights=x) for x in (counts, expected))
    seen, wanted = seen[wanted > 0], wanted[wanted > 0]
    assert stats.chisquare(seen, wanted * seen.sum() / wanted.sum()).pvalue > 1e-3
    assert abs(draws.mean() - truncation.mean()) < 4 * draws.std() / 1000


@pytest.mark.parametrize(
    "truncation", [*TRUNCATIONS, HarmonicTail(cap=500), HarmonicTail(switch=2, rate=0.1, cap=500)]
)
def test_the_quantile_is_the_last_index_that_survives(truncation):
    # No ratio of integers, so no tie.
    u = jnp.asarray((np.arange(1000) + np.sqrt(0.5)) / 1000)
    survives = truncation.survival(jnp.arange(1, 501))[None] >= u[:, None]
    np.testing.assert_array_equal(truncation.quantile(u), jnp.sum(survives, axis=1))


def test_the_distribution_of_sumo_is_the_papers():
    truncation = HarmonicTail(cap=100_000)
    survival = truncation.survival(jnp.array([1, 2, 10, 79, 80, 81, 100]))
    expected = [1, 1 / 2, 1 / 10, 1 / 79, 1 / 80, 0.9 / 80, 0.9**20 / 80]
    np.testing.assert_allclose(survival, expected, rtol=1e-12)
    # H_79 + 1 / (a b)
    assert float(truncation.mean()) == pytest.approx(np.sum(1 / np.arange(1, 80)) + 1 / 8, rel=1e-9)


@pytest.mark.parametrize("exact", [1, 5])
def test_importance_weighted_bounds_sum_to_the_log_evidence(exact):
    """z ~ N(0, I), x | z ~ N(z, I), so x ~ N(0, 2 I); a proposal whose mean is off by 0.2."""
    n, dim, truncation = 10_000, 5, HarmonicTail()
    x = jnp.asarray(np.random.default_rng(7).normal(size=dim) * np.sqrt(2))
    deviation = np.sqrt(2 / 3)

    @jax.jit
    def log_weights(key):
        noise = jr.normal(key, (exact + truncation.cap, n, dim))
        z = x[None, None] / 2 + 0.2 + deviation * noise
        joint = -(jnp.square(z) + jnp.square(x[None, None] - z)) / 2 - np.log(2 * np.pi)
        proposal = -jnp.square(noise) / 2 - np.log(2 * np.pi) / 2 - np.log(deviation)
        return jnp.sum(joint - proposal, axis=2)

    log_w = log_weights(jr.key(8))
    counts = jnp.arange(1, log_w.shape[0] + 1)[:, None]
    bounds = jax.lax.cumlogsumexp(log_w, axis=0) - jnp.log(counts.astype(float))
    terms = jnp.concatenate([bounds[exact - 1 : exact], jnp.diff(bounds[exact - 1 :], axis=0)])
    stop = truncation.sample((n,), key=jr.key(9))
    step = lambda place: (terms[place, jnp.arange(n)], place + 1)
    found = np.asarray(randomised_sum(step, jnp.zeros(n, int), truncation, stop, exact=1))
    truth = stats.multivariate_normal(np.zeros(dim), 2 * np.eye(dim)).logpdf(np.asarray(x))  # pyrefly: ignore
    error = found.std() / np.sqrt(n)
    assert abs(found.mean() - truth) < 4 * error
    assert error < 0.05
    if exact == 1:
        # The bound of one sample is off by much more than that.
        assert truth - float(jnp.mean(bounds[0])) > 0.25


def log_mean(w):
    return jnp.log(jnp.mean(w))


def test_a_multilevel_estimate_is_the_formula():
    plan = Multilevel(base=3, truncation=Geometric(0.4, cap=4))
    w = jnp.asarray(np.random.default_rng(1).uniform(1, 2, plan.samples(2)))
    assert w.shape == (3 + 12,)
    difference = log_mean(w[3:]) - log_mean(w[3:9]) / 2 - log_mean(w[9:]) / 2
    expected = log_mean(w[:3]) + difference / (0.4 * 0.6)
    assert multilevel_estimate(log_mean, w, 2, plan) == pytest.approx(float(expected), rel=1e-12)
    assert plan.mean_samples() == pytest.approx(
        3 * (1 + sum(p * 2**k for k, p in ((1, 0.6), (2, 0.24), (3, 0.096), (4, 0.064))))
    )


def test_the_halves_cancel_a_linear_function():
    plan = Multilevel(base=2)
    w = jnp.asarray(np.random.default_rng(2).normal(size=plan.samples(3)))
    assert multilevel_estimate(jnp.mean, w, 3, plan) == pytest.approx(float(jnp.mean(w[:2])))


def test_a_batch_of_levels_is_unbiased_where_one_level_is_not():
    """The log of the mean of exp(s x), whose limit is s^2 / 2; and its gradient, s."""
    plan, n = Multilevel(base=2, truncation=Geometric(2**-1.5, cap=6)), 5_000
    stop = np.asarray(plan.truncation.sample((n,), key=jr.key(3)))
    draw = lambda s, n, key: jnp.exp(s * jr.normal(key, (n,)))

    def estimates(s):
        return multilevel_batch(log_mean, draw, s, stop, plan, key=jr.key(4))

    scale = jnp.full(n, 0.8)
    values, pull = jax.vjp(estimates, scale)
    values, slopes = np.asarray(values), np.asarray(pull(jnp.ones(n))[0])
    for sample, truth in ((values, 0.32), (slopes, 0.8)):
        assert abs(sample.mean() - truth) < 4 * sample.std() / np.sqrt(n)
    # Two samples alone are biased by much more than that.
    pairs = jax.jit(jax.vmap(lambda key: log_mean(draw(0.8, 2, key))))(jr.split(jr.key(5), n))
    assert 0.32 - pairs.mean() > 10 * values.std() / np.sqrt(n)


def test_the_variance_of_a_level_falls_by_four():
    draw = lambda n: jnp.exp(0.5 * jr.normal(jr.key(6), (4000, n)))

    def variance(n):
        w = draw(n)
        halves = (jax.vmap(log_mean)(w[:, : n // 2]) + jax.vmap(log_mean)(w[:, n // 2 :])) / 2
        return float(jnp.var(jax.vmap(log_mean)(w) - halves))

    factors = [variance(n) / variance(2 * n) for n in (16, 32, 64)]
    assert all(3.2 < factor < 4.9 for factor in factors), factors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Geometric(1.0), r"`ratio` must be in \(0, 1\), got 1.0"),
        (lambda: Geometric(0.5, cap=0), "`cap` must be 1 or more, got 0"),
        (lambda: HarmonicTail(switch=1), "`switch` must be 2 or more"),
        (lambda: HarmonicTail(rate=0.0), "`rate` must be in"),
        (
            lambda: randomised_sum(
                indexed(), jnp.zeros(2, int), TRUNCATIONS[0], jnp.array([1, 2]), exact=-1
            ),
            "`exact` must be 0 or more",
        ),
        (
            lambda: randomised_sum(indexed(), jnp.zeros(3, int), TRUNCATIONS[0], jnp.array([1, 2])),
            r"axes of `stop`, \(2,\); got \(3,\)",
        ),
        (lambda: ragged_terms(np.array([1, 0])), "each 1 or more"),
        (lambda: truncation_cost(np.ones(5), TRUNCATIONS[0]), "must have 20 entries"),
        (
            lambda: truncation_cost(np.ones(20) * 1.1 ** np.arange(20), TRUNCATIONS[0]),
            "`terms` do not",
        ),
        (
            lambda: truncation_cost(0.9 ** np.arange(60), Geometric(0.5, cap=60)),
            "the variance's terms",
        ),
        (
            lambda: multilevel_estimate(jnp.mean, jnp.ones(3), 1, Multilevel(base=2)),
            r"must be 6 for `stop` 1, got \[3\]",
        ),
        (
            lambda: multilevel_estimate(jnp.mean, jnp.ones(3), 0, Multilevel()),
            "`stop` must be in 1",
        ),
    ],
)
def test_what_cannot_be_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_draws_are_diagnosed_by_what_one_wild_draw_cannot_move(key):
    calm = np.asarray(jr.normal(key, (10_000,))) + 3
    found = diagnose_draws(calm, groups=10)
    np.testing.assert_allclose(found.mean, calm.mean())
    np.testing.assert_allclose(found.standard_error, calm.std(ddof=1) / 100)
    groups = calm.reshape(10, 1000).mean(axis=1)
    np.testing.assert_allclose(found.median_of_means, np.median(groups))
    assert found.worst in calm
    assert found.worst_share < 0.01
    wild = np.append(calm, 1e5)
    found = diagnose_draws(wild, groups=10)
    assert abs(found.median_of_means - 3) < 4 * 1.2 / 100  # its own standard error is 1.25 times
    assert abs(found.mean - 3) > 5
    assert (found.worst, round(found.worst_share, 3)) == (1e5, 1.0)
    assert diagnose_draws(np.ones(100)).worst_share == 0
    with pytest.raises(ValueError, match="`draws` must be 40 or more for `groups` 20, got 39"):
        diagnose_draws(np.ones(39))
    with pytest.raises(ValueError, match="`draws` has 1 entries that are not finite"):
        diagnose_draws(np.append(np.ones(99), np.nan))
