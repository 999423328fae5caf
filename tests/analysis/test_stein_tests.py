"""Tests by Stein's identity: their values by brute force and in closed form, and their size."""

import functools
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.special import logsumexp
from scipy.stats import binom, chi2

from pullback.analysis import (
    compare_models,
    finite_set_stein_test,
    goodness_of_fit,
    kernel_stein_test,
)
from pullback.analysis._kernel_stein import median_distance
from pullback.analysis._stein_critic import CriticField
from pullback.analysis._stein_result import Units
from pullback.calculus import stein_operator

H = 1.3
X = jr.normal(jr.key(0), (7, 3))
SHIFT = jnp.array([0.5, -0.3, 0.1])
BY_KERNEL = (kernel_stein_test, functools.partial(finite_set_stein_test, steps=0))
SMALL: dict[str, Any] = {"width": 16, "steps": 60, "batch_size": 64, "evaluate_every": 30}


def skewed(x):
    return -jnp.sum(jnp.cosh(x)) + jnp.prod(x) / 10


def normal_score(x):
    return -x


def gaussian_score(mean, variance, x):
    return (mean - x) / variance


def kernels(name, x, y):
    r2 = jnp.sum((x - y) ** 2)
    return jnp.exp(-r2 / (2 * H**2)) if name == "rbf" else (1 + r2 / H**2) ** -0.5


def brute_force(name):
    """The U-statistic by automatic derivatives of the kernel, a pair at a time."""
    s, k = jax.grad(skewed), lambda x, y: kernels(name, x, y)

    def u(x, y):
        mixed = jnp.trace(jax.jacfwd(jax.grad(k, 0), 1)(x, y))
        along = s(x) @ jax.grad(k, 1)(x, y) + s(y) @ jax.grad(k, 0)(x, y)
        return s(x) @ s(y) * k(x, y) + along + mixed

    pairs = np.array(jax.jit(jax.vmap(lambda x: jax.vmap(lambda y: u(x, y))(X)))(X))
    np.fill_diagonal(pairs, 0)
    return pairs


@pytest.mark.parametrize("name", ["rbf", "imq"])
def test_the_kernel_discrepancy_is_the_u_statistic_however_it_is_cut(name, key):
    pairs, n = brute_force(name), len(X)
    for batch_size in (3, 100):
        found = kernel_stein_test(
            X, log_prob=skewed, kernel=name, bandwidth=H, standardise=False, num_bootstrap=400,
            batch_size=batch_size, key=key,
        )  # fmt: skip
        np.testing.assert_allclose(found.discrepancy, pairs.sum() / (n * (n - 1)), rtol=1e-9)
        np.testing.assert_allclose(found.statistic, pairs.sum() / (n - 1), rtol=1e-9)
    # Every choice of signs, in place of 400 of them: within 4 binomial standard errors.
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    share = np.mean(np.einsum("bi,ij,bj->b", signs, pairs, signs) >= pairs.sum() - 1e-9)
    assert abs(found.p_value - share) < 4 * np.sqrt(share * (1 - share) / 400) + 1 / 400


def test_the_bootstrap_s_sums_are_counted_as_the_statistic_s(key):
    """Over n - 1, both: all choices of 8 signs; within 4 binomial standard errors."""
    x, draws = np.random.default_rng(5).normal(size=8) + 0.4, 20_000
    gap = x[:, None] - x
    pairs = np.exp(-(gap**2) / 2) * (np.outer(x, x) - gap**2 + 1 - gap**2)
    np.fill_diagonal(pairs, 0)
    found = kernel_stein_test(
        jnp.asarray(x)[:, None], score=lambda x: -x, bandwidth=1.0, standardise=False,
        num_bootstrap=draws, key=key,
    )  # fmt: skip
    signs = 1 - 2 * ((np.arange(2**8)[:, None] >> np.arange(8)) & 1)
    sums, total = np.einsum("bi,ij,bj->b", signs, pairs, signs), pairs.sum()
    # Equal signs give the statistic itself, to rounding: counted or not.
    low, high = (np.mean(sums > total + slack) for slack in (1e-9, -1e-9))
    slack = 4 * np.sqrt(0.25 / draws)
    assert low - slack < found.p_value < high + slack
    assert np.mean(sums > total * 8 / 7) > high + 4 * slack


def test_the_kernel_discrepancy_of_a_shift_is_known(key):
    """|mu|^2 E k(x, x') with x - x' of covariance 2I; within 4 standard errors."""
    x = SHIFT[None] + jr.normal(key, (2000, 3))
    found = kernel_stein_test(
        x, score=normal_score, bandwidth=H, standardise=False, num_bootstrap=50, key=key
    )
    want = float(jnp.sum(SHIFT**2)) * (1 + 2 / H**2) ** -1.5
    assert abs(found.discrepancy - want) < 4 * found.standard_error
    assert found.standard_error < want / 5
    assert found.reject


def test_the_finite_set_discrepancy_is_that_of_its_features(key):
    places = jr.normal(key, (2, 3))
    score = jax.grad(skewed)

    def tau(x):
        k = lambda x, v: jnp.exp(-jnp.sum((x - v) ** 2) / (2 * H**2))
        return jax.vmap(lambda v: score(x) * k(x, v) + jax.grad(k)(x, v))(places) / np.sqrt(6)

    rows = np.asarray(jax.vmap(tau)(X)).reshape(7, -1)
    pairs = rows @ rows.T
    want = (pairs.sum() - np.trace(pairs)) / 42
    found = finite_set_stein_test(
        X, score=score, locations=places, bandwidth=H, steps=0, standardise=False, key=key
    )
    np.testing.assert_allclose(found.discrepancy, want, rtol=1e-9)
    np.testing.assert_allclose(found.statistic, 7 * want, rtol=1e-9)


def test_the_p_value_of_one_feature_is_that_of_a_chi_squared(key):
    """Under the null n FSSD^2 is var(tau) (z^2 - 1); within 4 binomial standard errors."""
    x, draws = jnp.linspace(-0.5, 2, 6)[:, None], 40_000
    found = finite_set_stein_test(
        x, score=lambda x: -x, locations=jnp.array([[0.3]]), bandwidth=1.0, steps=0,
        num_simulate=draws, standardise=False, key=key,
    )  # fmt: skip
    apart = np.asarray(x)[:, 0] - 0.3
    tau = -(np.asarray(x)[:, 0] + apart) * np.exp(-(apart**2) / 2)
    reached = 1 + (tau.sum() ** 2 - np.sum(tau**2)) / 5 / tau.var()
    want = chi2.sf(reached, df=1)
    assert 0.05 < want < 0.95
    assert abs(found.p_value - want) < 4 * np.sqrt(want * (1 - want) / draws)
    not_centred = chi2.sf(1 + (reached - 1) * tau.var() / np.mean(tau**2), df=1)
    assert abs(not_centred - want) > 10 * np.sqrt(want * (1 - want) / draws)


def test_the_finite_set_discrepancy_of_a_shift_is_known(key):
    """A Gaussian kernel's mean under a Gaussian is one; within 4 standard errors."""
    places = jnp.array([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5]])
    x = SHIFT[None] + jr.normal(key, (20_000, 3))
    found = finite_set_stein_test(
        x, score=normal_score, locations=places, bandwidth=H, steps=0, standardise=False, key=key
    )
    r2 = np.sum((np.asarray(places) - np.asarray(SHIFT)) ** 2, axis=1)
    mean_k = (1 + 1 / H**2) ** -1.5 * np.exp(-r2 / (2 * (H**2 + 1)))
    want = float(jnp.sum(SHIFT**2)) * np.sum(mean_k**2) / 6
    assert abs(found.discrepancy - want) < 4 * found.standard_error
    assert found.standard_error < want / 10


def test_trained_places_see_more_than_those_they_started_at(key):
    """Of a difference far from where the places start."""
    x = jr.normal(key, (1500, 2)) * jnp.array([[1.0, 1.25]])
    start = jnp.array([[0.0, 0.0]])
    options = {"score": normal_score, "locations": start, "bandwidth": 1.0, "standardise": False}
    found = {}
    for steps, used in ((0, 0.0), (150, 0.2)):
        result = finite_set_stein_test(x, steps=steps, key=key, **options)
        found[steps] = float(result.discrepancy / result.standard_error) / np.sqrt(1 - used)
    assert found[150] > found[0] + 1


@pytest.mark.parametrize("variance", [None, 1.5])
def test_the_learned_discrepancy_of_two_gaussians_is_known(variance, key):
    """|mu|^2 / 2l2 of a shift and d (1 - 1/s2)^2 / 2l2 of a scale, within 10 %.

    At 4,000 points of the test part the sampling error is about 4 %, and the critic's error is of
    second order.
    """
    shift = jnp.array([0.5, -0.3]) if variance is None else jnp.zeros(2)
    scale = jnp.full(2, variance or 1.0)
    want = float(jnp.sum(shift**2) + jnp.sum((1 - 1 / scale) ** 2)) / 2
    score = eqx.Partial(gaussian_score, shift, scale)
    found = goodness_of_fit(
        jr.normal(key, (24_000, 2)), score=score, l2=1.0, power=False,
        width=32, steps=400, batch_size=256, split=(0.6, 0.1, 0.3), standardise=False, key=key,
    )  # fmt: skip
    assert abs(float(found.discrepancy) - want) < 0.1 * want
    assert found.reject
    # The critic is half the gap of scores over l2: within half of it in mean square.
    x = jr.normal(jr.key(5), (500, 2))
    gap = jax.vmap(score)(x) + x
    error = jnp.mean(jnp.sum((jax.vmap(found.critic)(x) - gap / 2) ** 2, axis=1))
    assert error < 0.25 * jnp.mean(jnp.sum(gap**2, axis=1)) / 4


def test_the_units_of_the_columns_do_not_matter(key):
    x = 0.3 + jr.normal(key, (300, 2))
    of = lambda s: goodness_of_fit(
        s[None] * (x + 5), score=eqx.Partial(gaussian_score, 5 * s, s**2), key=key, **SMALL
    )
    here, there = of(jnp.ones(2)), of(jnp.array([1.0, 1000.0]))
    np.testing.assert_allclose(here.statistic, there.statistic, rtol=1e-5)
    np.testing.assert_allclose(here.discrepancy, there.discrepancy, rtol=1e-5)


def test_a_critic_in_the_columns_units_is_a_field_in_those_of_the_data(key):
    net = eqx.nn.MLP(3, 3, 8, 1, jax.nn.swish, key=key)
    units = Units(jnp.array([1.0, -2.0, 0.0]), jnp.array([2.0, 0.1, 3.0]))
    field = CriticField(net, units, jnp.asarray(0.7))
    score, x = jax.grad(skewed), X[0]
    y = (x - units.centre) / units.scale
    want = 0.7 * stein_operator(net, lambda y: units.scale * score(x), y)
    np.testing.assert_allclose(stein_operator(field, score, x), want, rtol=1e-9)


def rates(test, reps, n, key, alpha=0.05, draw=jr.normal):
    """The p-values of `reps` tests of a standard Gaussian."""
    data_key, test_key = jr.split(key)
    x = draw(data_key, (reps, n, 2))
    run = eqx.filter_jit(
        eqx.filter_vmap(lambda x, key: test(x, score=normal_score, key=key).p_value)
    )
    return np.asarray(run(x, jr.split(test_key, reps)))


TESTS = {
    "learned": lambda x, **k: goodness_of_fit(x, **SMALL, split=(0.5, 0.1, 0.4), **k),
    "kernel": lambda x, **k: kernel_stein_test(x, num_bootstrap=200, **k),
    "finite set": lambda x, **k: finite_set_stein_test(x, steps=20, **k),
}


def band(reps, alpha):
    """What 9,999 of 10,000 binomial counts are within."""
    return binom.ppf([5e-5, 1 - 5e-5], reps, alpha) / reps


@pytest.mark.parametrize("name", ["kernel", "finite set"])
def test_a_model_that_is_right_is_rejected_as_often_as_the_level_says(name, key):
    p = rates(TESTS[name], 200, 60, key)
    for alpha in (0.05, 0.3):
        low, high = band(200, alpha)
        assert low <= np.mean(p <= alpha) <= high


@pytest.mark.slow
def test_the_learned_test_rejects_a_right_model_as_often_as_the_level_says(key):
    p = rates(TESTS["learned"], 200, 200, key)
    for alpha in (0.05, 0.3):
        low, high = band(200, alpha)
        assert low <= np.mean(p <= alpha) <= high


def test_a_few_learned_tests_of_a_right_model_and_of_a_wrong_one(key):
    test = TESTS["learned"]
    assert np.mean(rates(test, 12, 150, key) <= 0.05) <= 5 / 12
    assert np.mean(rates(test, 12, 150, key, draw=lambda *a: 1 + jr.normal(*a)) <= 0.05) >= 0.8


@pytest.mark.slow
def test_a_learned_critic_sees_tails_that_a_kernel_does_not(key):
    """Laplace data of the model's mean and variance: excess kurtosis, in 10 dimensions."""
    x = jr.laplace(key, (6, 1000, 10)) / np.sqrt(2)
    learned = eqx.filter_jit(eqx.filter_vmap(lambda x, key: goodness_of_fit(
        x, score=normal_score, width=64, steps=400, key=key).reject))  # fmt: skip
    kernel = eqx.filter_jit(eqx.filter_vmap(lambda x, key: kernel_stein_test(
        x, score=normal_score, key=key).reject))  # fmt: skip
    keys = jr.split(key, 6)
    assert float(jnp.mean(learned(x, keys))) >= 0.6
    assert float(jnp.mean(kernel(x, keys))) <= 0.4


def test_all_are_blind_to_the_weights_of_modes_that_lie_far_apart(key):
    """A tenth of the model's mass is where half of the data is; the divergence is half a nat."""

    def log_prob(x):
        return logsumexp(
            jnp.array([jnp.log(0.9), jnp.log(0.1)])
            - jnp.sum((x[None] - jnp.array([[-8.0], [8.0]])) ** 2, axis=1) / 2
        )

    side = jnp.where(jr.bernoulli(key, 0.5, (400, 1)), 8.0, -8.0)
    x = side + jr.normal(jr.key(1), (400, 1))
    nats = np.log(0.5) - 0.5 * (np.log(0.9) + np.log(0.1))
    assert nats > 0.5
    found = goodness_of_fit(x, log_prob=log_prob, key=key, **SMALL)
    # Within what chance gives a right model.
    assert abs(found.statistic) < 3
    assert not kernel_stein_test(x, log_prob=log_prob, key=key).reject
    assert not finite_set_stein_test(x, log_prob=log_prob, steps=20, key=key).reject


def test_models_are_ranked_by_their_fisher_divergence(key):
    scores = {
        f"{s:g}": eqx.Partial(gaussian_score, jnp.zeros(2), jnp.full(2, s)) for s in (2.0, 1.0, 1.3)
    }
    x = jr.normal(key, (2000, 2))
    found = compare_models(scores, x, l2=1.0, key=key, **{**SMALL, "steps": 300})
    assert list(found) == ["1", "1.3", "2"]
    # 2 (1 - 1/s)^2 / 2 in standardised units; a fifth for 200 points of the test part.
    assert abs(float(found["2"].discrepancy) - 0.25) < 0.08
    assert not found["1"].reject


def test_distributions_of_numpyro_go_in_as_they_are(key):
    x = jr.normal(key, (60, 2))
    with jax.numpy_dtype_promotion("standard"):
        model = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
    found = kernel_stein_test(x, log_prob=model.log_prob, key=key)
    other = kernel_stein_test(x, score=normal_score, key=key)
    np.testing.assert_allclose(found.statistic, other.statistic, rtol=1e-9)
    shifted = kernel_stein_test(x + 3, log_prob=model.log_prob, key=key)
    assert (bool(found.reject), bool(shifted.reject)) == (False, True)
    assert "is not rejected" in str(found)
    assert "does not fit" in str(shifted)


def bad(test=goodness_of_fit, **change):
    arguments = {
        "x": jnp.arange(200.0).reshape(100, 2),
        "score": normal_score,
        "key": jr.key(0),
        **change,
    }
    return test(arguments.pop("x"), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_prob": skewed}, "give `score` or `log_prob`, and not both"),
        ({"score": None}, "give `score` or `log_prob`"),
        ({"score": lambda x: x[0]}, r"`score` must map one point.*A log-density goes in as"),
        ({"score": None, "log_prob": lambda x: x}, r"`log_prob` must map one point.*to_event"),
        ({"score": None, "log_prob": jnp.argmax}, r"`log_prob` must map one point.*dtype int"),
        ({"x": jnp.zeros((50, 2)).at[7].set(jnp.nan)}, "1 of its 50 rows are not.*row 7"),
        (
            {"x": jnp.zeros((30, 2)).at[0].set(1)},
            r"`x` has 30 rows, of which.*leaves 24.*kernel_stein_test",
        ),
        ({"x": jnp.full((50, 2), 0.1)}, "its 50 rows are all the same"),
        ({"x": jnp.zeros((0, 2)), "test": kernel_stein_test}, "must have 2 rows or more, got 0"),
        (
            {"x": jnp.zeros(50), "test": inspect.unwrap(kernel_stein_test)},
            r"shape \[n, dim\], got \[50\]; of one column it is x\[:, None\]",
        ),
        ({"split": (0.5, 0.1, 0.1)}, "`split` must be three shares above 0 that add up to 1"),
        ({"critic": lambda x: x[:1]}, r"`critic` must map a point of shape \(2,\)"),
        ({"l2": 0.0}, "`l2` must be above 0"),
        ({"alpha": 5.0}, "`alpha` must be between 0 and 1, got 5.0"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"batch_size": 1}, "`batch_size` must be at least 2"),
        (
            {"test": inspect.unwrap(kernel_stein_test), "kernel": "laplace"},
            "`kernel` must be one of",
        ),
        ({"test": kernel_stein_test, "bandwidth": -1.0}, "`bandwidth` must be above 0"),
        ({"test": finite_set_stein_test, "train": 0.001}, "`train` must be a share"),
        ({"test": finite_set_stein_test, "locations": jnp.zeros((3, 3))}, r"shape \[J, 2\]"),
        (
            {"test": kernel_stein_test, "score": lambda x: x / 0.0 * 0.0},
            "the model's score is not finite at 100 of the 100 rows",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        bad(**change)


def test_a_comparison_needs_a_model(key):
    with pytest.raises(ValueError, match="`scores` must hold at least one model"):
        compare_models({}, X, key=key)


def test_a_kernel_test_that_fails_speaks_of_the_kernel(key):
    x = jr.normal(key, (20, 2)).astype(jnp.float32)
    for test in BY_KERNEL:
        with pytest.raises(ValueError, match=r"not finite though.*the kernel") as error:
            test(x, score=lambda x: -1e30 * x, key=key)
        assert "learning" not in str(error.value)


@pytest.mark.parametrize("test", BY_KERNEL)
def test_where_the_points_lie_is_nothing_to_a_kernel(test, x32, key):
    """Without standardising too: in float32 the squares of 1e4 have no digits left for 1."""
    noise = np.round(np.asarray(jr.normal(key, (60, 2))), 3).astype(np.float32)
    far = jnp.asarray(1e4 + noise)
    near = far - 1e4
    start = {} if test is kernel_stein_test else {"locations": near[:3]}
    options = {"bandwidth": 1.0, "standardise": False, "key": key}
    wanted = test(near, score=lambda x: -x, **start, **options)
    start = {} if test is kernel_stein_test else {"locations": far[:3]}
    found = test(far, score=lambda x: 1e4 - x, **start, **options)
    np.testing.assert_allclose(found.statistic, wanted.statistic, rtol=1e-3)


def test_ties_do_not_make_the_default_width_zero(key):
    """Counts: most pairs are the same, and a constant column stands beside them."""
    counts = jnp.where(jnp.arange(40) < 30, 0.0, 1.0)
    x = jnp.stack([counts, jnp.full(40, 0.1)], axis=1)
    assert bool(jnp.isfinite(kernel_stein_test(x, score=lambda x: -x, key=key).statistic))
    assert float(median_distance(x, key)) == 1
    assert float(median_distance(jnp.full((5, 2), 0.1), key)) == 1
    spread = jnp.asarray([[0.0], [1.0], [3.0], [7.0]])
    assert float(median_distance(spread, key)) == 4  # of 1, 2, 3, 4, 6, 7: the upper of the middle


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_tested_in_float32(dtype, key):
    x = jr.normal(key, (60, 2)).astype(dtype)
    for test in BY_KERNEL:
        found = test(x, score=lambda x: -x, key=key)
        same = test(x.astype(jnp.float32), score=lambda x: -x, key=key)
        np.testing.assert_array_equal(found.statistic, same.statistic)
