"""Cases of torchmetrics, BlackJAX and scikit-learn, made again in our words, on our names."""

import inspect

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from pullback.analysis import (
    accuracy_under_attack,
    auroc,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from pullback.data import irregular_series, rescale_series, standardise
from pullback.sampling import langevin, mala

# torchmetrics: calibration error, accuracy, AUROC and the proper scores, where they are known.


def two_way(confidence):
    confidence = np.asarray(confidence, float)
    return np.stack([confidence, 1 - confidence], axis=1)


@pytest.mark.parametrize(
    ("confidence", "right", "bins", "ece"),
    [
        ([0.75] * 4, [1, 1, 1, 0], 10, 0.0),  # earned
        ([1.0] * 4, [1, 1, 0, 0], 10, 0.5),  # certain, and a coin
        ([1.0], [1], 15, 0.0),
        ([1.0], [0], 15, 1.0),
        (
            [0.55, 0.65, 0.75, 0.85, 0.95],
            [1, 0, 1, 0, 1],
            10,
            (0.45 + 0.65 + 0.25 + 0.85 + 0.05) / 5,
        ),
        ([0.55, 0.65, 0.75, 0.85, 0.95], [1, 0, 1, 0, 1], 1, 0.75 - 0.6),  # one bin: they cancel
        ([0.6, 0.6, 0.9, 0.9], [1, 1, 1, 0], 2, 0.75 - 0.75),  # in one of two bins
        ([0.6, 0.6, 0.9, 0.9], [1, 1, 1, 0], 5, (0.4 + 0.4) / 2),
        ([0.8, 0.8, 0.8001], [1, 0, 1], 5, (2 * 0.3 + 0.1999) / 3),  # 0.8 ends a bin
        ([0.5, 0.5], [1, 0], 4, 0.0),  # a tie goes to the first class
    ],
)
def test_torchmetrics_calibration_error_by_hand(confidence, right, bins, ece):
    labels = 1 - np.asarray(right)
    probs = two_way(confidence)
    found = expected_calibration_error(probs, labels, bins=bins)
    np.testing.assert_allclose(found, ece, atol=1e-12)
    compiled = jax.jit(lambda p, y: expected_calibration_error(p, y, bins=bins))(probs, labels)
    np.testing.assert_allclose(compiled, ece, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_torchmetrics_accuracy_and_counts_are_those_of_numpy(classes):
    rng = np.random.default_rng(classes)
    probs = rng.dirichlet(np.ones(classes), 400)
    labels = rng.integers(classes, size=400)
    curve = reliability_curve(probs, labels, bins=12)
    compiled = jax.jit(lambda p, y: reliability_curve(p, y, bins=12))(probs, labels)
    for same, found in zip(compiled, curve, strict=True):
        np.testing.assert_allclose(same, found, rtol=1e-12)
    assert int(curve.count.sum()) == 400
    _, count, confidence, accuracy = map(np.asarray, curve)
    share = np.nansum(accuracy * count) / 400
    np.testing.assert_allclose(share, np.mean(probs.argmax(1) == labels))
    np.testing.assert_allclose(np.nansum(confidence * count) / 400, probs.max(1).mean())
    # No class of K can be the largest and below 1 / K.
    assert not np.any(count[np.asarray(curve.edges)[1:] < 1 / classes])


@pytest.mark.parametrize(
    ("probs", "label", "brier", "nll"),
    [
        ([1.0, 0.0], 0, 0.0, 0.0),
        ([0.5, 0.5], 1, 0.5, np.log(2)),
        ([0.2, 0.3, 0.5], 2, 0.04 + 0.09 + 0.25, np.log(2)),
        ([1 / 3] * 3, 0, 2 / 3, np.log(3)),
        ([0.0, 1.0], 0, 2.0, -np.log(np.finfo(float).tiny)),
    ],
)
def test_torchmetrics_proper_scores_of_one_row(probs, label, brier, nll):
    row, labels = np.array([probs]), np.array([label])
    for way in (lambda f: f, jax.jit):
        np.testing.assert_allclose(way(brier_score)(row, labels), brier, atol=1e-12)
        np.testing.assert_allclose(way(negative_log_likelihood)(row, labels), nll, atol=1e-12)


@pytest.mark.parametrize(
    ("inside", "outside", "area"),
    [
        ([3.0, 4.0], [1.0, 2.0], 1.0),
        ([1.0], [2.0], 0.0),
        ([1.0, 1.0], [1.0], 0.5),  # nothing but ties
        ([0.35, 0.8], [0.1, 0.4], 0.75),
        ([np.inf], [-np.inf, np.inf], 0.75),
    ],
)
def test_torchmetrics_auroc(inside, outside, area):
    assert auroc(inside, outside) == pytest.approx(area)


def test_torchmetrics_accuracy_of_ties_and_of_one_example(key):
    flat = lambda x: 0 * x
    x = np.ones((4, 3))
    found = accuracy_under_attack(flat, x, np.array([0, 0, 1, 2]), radii=[0.0], key=key)
    assert found.tolist() == [0.5]  # the first of equals is what is said
    one = accuracy_under_attack(lambda x: x, x[:1], np.array([0]), radii=[0.0, 1.0], key=key)
    assert one.tolist() == [1.0, 0.0]


# BlackJAX: Langevin and MALA on distributions with known moments, and what a Gaussian accepts.

CHAINS = 4000


def settles(found, mean, variance, fourth=3.0):
    """Within 4 standard errors, of a fourth central moment in units of the squared variance."""
    n = len(found)
    assert abs(np.mean(found) - mean) < 4 * np.sqrt(variance / n)
    assert abs(np.var(found) / variance - 1) < 4 * np.sqrt((fourth - 1) / n)


def check_eagerly(walk, start, found):
    """Chains go where those of the compiled walk `found` went, save one whose choice was a tie."""
    apart = np.max(np.abs(np.asarray(walk(start)[0]) - found), axis=-1)
    assert np.mean(apart > 1e-6) < 1e-3


DISTRIBUTIONS = {
    # From far off and from within, a mean and a scale that are not those of the start.
    "normal": (lambda x: -jnp.sum((x - 1) ** 2) / (2 * 4), 1.0, 4.0, 3.0, 1.5),
    "log of a gamma": (lambda x: jnp.sum(3 * x - jnp.exp(x)), None, None, None, 0.3),
    "logistic": (lambda x: jnp.sum(-x - 2 * jnp.logaddexp(0.0, -x)), 0.0, np.pi**2 / 3, 4.2, 1.2),
    "student t of 9": (lambda x: -5 * jnp.sum(jnp.log1p(x**2 / 9)), 0.0, 9 / 7, 3 + 6 / 5, 0.6),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_blackjax_mala_finds_the_moments_of_a_distribution_of_one_dimension(name, key):
    log_prob, mean, variance, fourth, step = DISTRIBUTIONS[name]
    if mean is None:
        mean, variance, fourth = (float(v) for v in stats.loggamma(3).stats("mvk"))
        fourth += 3
    walk = lambda x: mala(log_prob, x, steps=150, step_size=step, key=key)
    x, info = jax.jit(walk)(jnp.zeros((CHAINS, 1)))
    check_eagerly(walk, jnp.zeros((CHAINS, 1)), x)
    settles(np.asarray(x)[:, 0], mean, variance, fourth)
    assert abs(float(info.accepted) - 0.57) < 0.08


def test_blackjax_mala_of_a_correlated_gaussian(key):
    cov = np.array([[1.0, 0.8], [0.8, 2.0]])
    precision, mean = jnp.asarray(np.linalg.inv(cov)), jnp.array([2.0, -1.0])
    log_prob = lambda x: -(x - mean) @ precision @ (x - mean) / 2
    walk = lambda x: mala(log_prob, x, steps=200, step_size=0.3, key=key)
    x = np.asarray(jax.jit(walk)(jnp.zeros((CHAINS, 2)))[0])
    check_eagerly(walk, jnp.zeros((CHAINS, 2)), x)
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=4 * np.sqrt(2 / CHAINS))
    np.testing.assert_allclose(np.cov(x.T), cov, atol=4 * np.sqrt(8 / CHAINS))


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_blackjax_the_share_that_mala_accepts_of_a_standard_normal(alpha, key):
    """With x* = (1 - a) x + sqrt(2 a) e the ratio is log r = a (x^2 - x*^2) / 4, and no more."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    x, e = np.meshgrid(nodes, nodes)
    there = (1 - alpha) * x + np.sqrt(2 * alpha) * e
    wanted = np.minimum(1, np.exp(alpha * (x**2 - there**2) / 4)) @ weights @ weights
    start = jr.normal(key, (CHAINS, 1))
    walk = lambda x: mala(lambda x: -jnp.sum(x**2) / 2, x, steps=40, step_size=alpha,
                          target_accept=None, key=key)[1].accepted  # fmt: skip
    for way in (walk, jax.jit(walk)):
        np.testing.assert_allclose(way(start), wanted, atol=0.01)


def test_blackjax_a_step_of_nothing_is_always_accepted_and_a_huge_one_never(key):
    once = lambda x, size: mala(lambda x: -jnp.sum(x**2) / 2, x, steps=4, step_size=size,
                                target_accept=None, key=key)  # fmt: skip
    start = jr.normal(key, (500, 3))
    for walk in (once, jax.jit(once)):
        assert float(walk(start, jnp.asarray(1e-8))[1].accepted) == pytest.approx(1)
        stuck, info = walk(start, jnp.asarray(1e4))
        assert float(info.accepted) == 0
        np.testing.assert_array_equal(stuck, start)


@pytest.mark.parametrize(("alpha", "steps"), [(0.01, 400), (0.3, 40), (1.0, 20)])
def test_blackjax_sgld_of_a_gaussian_mean_at_a_full_batch(alpha, steps, key):
    """Conjugate: ten points, unit noise and prior; x' = mu + (1 - a l)(x - mu) + sqrt(2 a) e."""
    data = jnp.asarray(np.random.default_rng(0).normal(1.5, 1, 10))
    precision = 11.0
    mean = float(data.sum()) / precision
    log_prob = lambda x: -jnp.sum(x**2) / 2 - jnp.sum((data - x[0]) ** 2) / 2
    size = alpha / precision
    walk = lambda x: langevin(log_prob, x, steps=steps, step_size=size, key=key)
    left = (1 - alpha) ** steps
    variance = (1 - left**2) / (precision * (1 - alpha / 2))
    found = np.asarray(jax.jit(walk)(jnp.zeros((CHAINS, 1)))[0])
    settles(found[:, 0], mean * (1 - left), variance)
    check_eagerly(walk, jnp.zeros((CHAINS, 1)), found)


def test_blackjax_a_seed_gives_one_walk_and_chains_are_apart(key):
    log_prob = lambda x: -jnp.sum(x**2) / 2
    once = lambda key: mala(log_prob, jnp.ones((3, 2)), steps=5, step_size=0.5, key=key)[0]
    walk = jax.jit(once)
    np.testing.assert_allclose(once(key), walk(key), rtol=1e-9)
    one, again, other = walk(key), walk(key), walk(jr.fold_in(key, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.any(np.asarray(one) == np.asarray(other))
    assert len(np.unique(np.asarray(one)[:, 0])) == 3


# As it is where types are not checked.
UNCHECKED = inspect.unwrap(standardise)

# scikit-learn: the scaler on constant, nearly constant, tiny and huge columns.


@pytest.mark.parametrize("constant", [0.0, 1.0, 100.0, 0.1, np.log(1e-5), 1e100, -1e-100])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sklearn_a_constant_feature_is_centred_and_not_scaled(constant, dtype):
    constant = np.clip(constant, -1e30, 1e30)
    (z,), scaler = standardise(np.full((100, 2), constant, dtype))
    np.testing.assert_array_equal(scaler.scale, 1)
    np.testing.assert_array_equal(scaler.mean, dtype(constant))
    np.testing.assert_array_equal(z, 0)


@pytest.mark.parametrize("average", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1e5])
def test_sklearn_a_nearly_constant_feature_is_scaled(average, scale):
    """Half of the rows above and half below: the deviation is what they are apart."""
    x = average * (1 + scale * np.where(np.arange(100) % 2, 1.0, -1.0))[:, None]
    (z,), scaler = standardise(x)
    np.testing.assert_allclose(scaler.scale, average * scale, rtol=1e-10)
    np.testing.assert_allclose(np.abs(z), 1, rtol=1e-9)


def test_sklearn_float16_does_not_overflow():
    """200,000 rows between 5 and 10: their sum and their squares are beyond float16."""
    x = np.random.default_rng(0).uniform(5, 10, (200_000, 1)).astype(np.float16)
    (z,), scaler = standardise(x)
    assert z.dtype == np.float16
    np.testing.assert_allclose(scaler.mean, 7.5, rtol=1e-3)
    np.testing.assert_allclose(scaler.scale, 5 / np.sqrt(12), rtol=2e-3)
    assert np.isfinite(z).all()


def test_sklearn_one_feature_one_row_and_the_way_back():
    for x in (np.arange(5.0), np.arange(5.0)[:, None], np.array([[3.0, -2.0]])):
        (z,), scaler = standardise(x)
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-15)
        np.testing.assert_allclose(scaler.undo(z), x, rtol=1e-15)
    (z, beyond), _ = standardise(np.array([[0.0], [1.0]]), np.array([[-3.0], [0.5]]))
    np.testing.assert_allclose(beyond, [[-7.0], [0.0]])


def test_sklearn_whole_numbers_become_floats_and_text_is_refused():
    train, other = UNCHECKED(np.array([[1], [3]]), np.array([[5]]))[0]
    assert (train.ravel().tolist(), other.tolist()) == ([-1, 1], [[3]])
    with pytest.raises(ValueError, match="expected numbers"):
        UNCHECKED(np.array([["a"], ["b"]]))


@pytest.mark.parametrize("column", [[0.0, 1.0, 4.0], [-1e300, 0.0, 1e300], [5.0, 5.0, 5.0]])
def test_sklearn_min_max_scaler(column):
    series = irregular_series([(np.arange(3.0), np.asarray(column))])
    (scaled,), scaler = rescale_series(series, method="min-max")
    low, span = min(column), max(column) - min(column) or 1.0
    np.testing.assert_allclose(scaled.values.ravel(), (np.asarray(column) - low) / span)
    np.testing.assert_allclose(scaler.undo(scaled).values.ravel(), column)
