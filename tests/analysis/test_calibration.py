"""Calibration measures, against scikit-learn and a plain loop."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from pullback.analysis import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)

MEASURES = (expected_calibration_error, brier_score, negative_log_likelihood)


@pytest.fixture
def answers():
    """Over-confident probabilities of four classes."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(500, 4)) * 2
    labels = np.array([rng.choice(4, p=np.exp(x / 2) / np.exp(x / 2).sum()) for x in logits])
    probs = np.exp(logits)
    return probs / probs.sum(axis=1, keepdims=True), labels


def by_hand(probs, labels, bins):
    """Mean confidence and accuracy of each bin that is not empty, one example at a time."""
    found = {}
    for row, label in zip(probs, labels, strict=True):
        b = next(b for b in range(bins) if row.max() <= (b + 1) / bins + 1e-15)
        found.setdefault(b, []).append((row.max(), float(row.argmax() == label)))
    return {b: (len(v), *np.mean(v, axis=0)) for b, v in found.items()}


def test_brier_score_and_nll_are_those_of_scikit_learn(answers):
    probs, labels = answers
    assert float(brier_score(probs, labels)) == pytest.approx(brier_score_loss(labels, probs))
    assert float(negative_log_likelihood(probs, labels)) == pytest.approx(log_loss(labels, probs))


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_ece_and_the_reliability_curve_are_those_of_a_loop(bins, answers):
    probs, labels = answers
    rows = by_hand(probs, labels, bins)
    ece = sum(n * abs(c - a) for n, c, a in rows.values()) / len(labels)
    assert float(expected_calibration_error(probs, labels, bins=bins)) == pytest.approx(ece)
    curve = reliability_curve(probs, labels, bins=bins)
    assert len(curve.edges) == bins + 1
    for b in range(bins):
        got = [float(x[b]) for x in (curve.count, curve.confidence, curve.accuracy)]
        want = rows.get(b, (0, np.nan, np.nan))
        np.testing.assert_allclose(got, want, rtol=1e-9)


def test_confidence_that_is_earned_has_no_error_and_a_coin_that_is_certain_half():
    """100,000 labels drawn from the probabilities: 15 bins are off by 0.002 each, or so."""
    rng = np.random.default_rng(4)
    share = rng.uniform(0.5, 1, 100_000)
    probs = np.stack([share, 1 - share], axis=1)
    labels = (rng.uniform(size=100_000) > share).astype(int)
    assert float(expected_calibration_error(probs, labels)) < 0.01
    certain = np.tile([1.0, 0.0], (100, 1))
    found = expected_calibration_error(certain, np.arange(100) % 2)
    assert float(found) == pytest.approx(0.5)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    probs = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    curve = reliability_curve(probs, np.array([0, 1, 0]), bins=4)
    assert curve.count.tolist() == [0, 1, 1, 1]
    assert curve.accuracy[1:].tolist() == [1.0, 0.0, 1.0]


def test_certain_and_wrong_is_infinitely_surprising_but_stays_a_number():
    probs = jnp.array([[1.0, 0.0]])
    value = float(negative_log_likelihood(probs, jnp.array([1])))
    assert value == pytest.approx(-np.log(np.finfo(float).tiny))
    assert float(expected_calibration_error(probs, jnp.array([1]))) == 1.0


def test_measures_work_compiled_and_in_float32(answers):
    probs, labels = np.float32(answers[0]), answers[1]
    for measure in (expected_calibration_error, brier_score, negative_log_likelihood):
        value = jax.jit(measure)(probs, labels)
        assert value.dtype == jnp.float32
        assert float(value) == pytest.approx(float(measure(*answers)), rel=1e-4)


def test_what_are_no_probabilities_is_refused(answers):
    probs, labels = answers
    with pytest.raises(ValueError, match="must be probabilities"):
        brier_score(np.log(probs), labels)
    with pytest.raises(ValueError, match="must be probabilities"):
        brier_score(100 * probs, labels)
    with pytest.raises(ValueError, match="`labels` must lie between 0 and 3, got 1 to 4"):
        brier_score(probs[:2], np.array([1, 4]))
    with pytest.raises(ValueError, match=r"n at least 1; got \[0, 4\] and \[0\]"):
        negative_log_likelihood(probs[:0], labels[:0])
    with pytest.raises(ValueError, match="`bins` must be at least 1, got 0"):
        expected_calibration_error(probs, labels, bins=0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    "measure", [expected_calibration_error, brier_score, negative_log_likelihood]
)
def test_half_precision_gives_the_answer_of_its_numbers_in_float64(dtype, measure, answers):
    probs, labels = answers
    half = jnp.tile(jnp.asarray(probs, dtype), (2, 1))  # 1,000 ones are more than bfloat16 counts
    labels = np.tile(labels, 2)
    exact = np.asarray(half, np.float64)
    wanted = measure(exact / exact.sum(axis=1, keepdims=True), labels)
    for found in (measure(half, labels), jax.jit(measure)(half, labels)):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, wanted, rtol=0.02)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it(x32):
    for bins in (3, 5, 7, 10, 15):
        confidence = np.arange(bins // 2 + 1, bins + 1) / bins
        probs = np.stack([confidence, 1 - confidence], 1).astype(np.float32)
        count = reliability_curve(probs, np.zeros(len(probs), int), bins=bins).count
        assert np.asarray(count).tolist() == [0] * (bins // 2) + [1] * len(confidence)


@pytest.mark.parametrize(
    "measure", [expected_calibration_error, brier_score, negative_log_likelihood]
)
def test_what_is_refused_eagerly_is_nan_where_it_is_compiled(measure):
    good = jnp.array([[0.5, 0.5], [0.2, 0.8]])
    for probs, labels, message in (
        (good, jnp.array([0, 2]), "`labels` must lie between 0 and 1, got 0 to 2"),
        (good, jnp.array([-1, 0]), "got -1 to 0"),
        (good * jnp.array([[1], [7.0]]), jnp.array([0, 1]), "row 1 is .*sums to 7.*softmax"),
        (good + jnp.array([[0], [jnp.nan]]), jnp.array([0, 1]), "row 1 is .*nan"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(probs, labels)
        assert bool(jnp.isnan(jax.jit(measure)(probs, labels)))


BINNED = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4], [0.4, 0.6]])
CORRECT = np.array([0, 0, 1, 1, 1])
# Two bins above 0.5 of four: (0.6, 0.6) right once of two, and (0.9, 0.8, 0.8) twice of three.
GAPS = np.array([0.6 - 1 / 2, 2.5 / 3 - 2 / 3])
SHARES = np.array([2 / 5, 3 / 5])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norms_of_the_calibration_error_are_those_of_bins_by_hand(dtype, compiled):
    wanted = {"l1": SHARES @ GAPS, "l2": np.sqrt(SHARES @ GAPS**2), "max": GAPS.max()}
    for norm, value in wanted.items():
        found = lambda probs, norm=norm: expected_calibration_error(
            probs, CORRECT, bins=4, norm=norm
        )
        found = (jax.jit(found) if compiled else found)(jnp.asarray(BINNED, dtype))
        assert found.dtype == dtype
        assert float(found) == pytest.approx(value, rel=1e-6)


def test_a_norm_that_is_none_is_refused():
    with pytest.raises(ValueError, match="`norm` must be one of l1, l2, max, got 'linf'"):
        inspect.unwrap(expected_calibration_error)(BINNED, CORRECT, norm="linf")


def test_an_error_of_zero_has_a_gradient_of_zero_by_every_norm():
    probs, labels = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1])
    for norm in ("l1", "l2", "max"):
        of = lambda p, norm=norm: expected_calibration_error(p, labels, norm=norm)
        assert of(probs) == 0
        assert bool(jnp.all(jnp.isfinite(jax.grad(of)(probs))))
