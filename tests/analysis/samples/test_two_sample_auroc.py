"""Whether a forest tells samples from data: chance where it must, 1 where it can."""

import jax
import jaxtyping
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pullback.analysis.samples import _two_sample_auroc, two_sample_auroc


def rows(seed, count=150, width=3):
    return np.random.default_rng(seed).normal(size=(count, width))


def test_one_distribution_is_chance_and_a_shift_is_seen():
    found = two_sample_auroc(rows(0), rows(1), key=jax.random.key(0))
    assert abs(found.auroc - 0.5) < 4 * found.standard_error
    assert 0.01 < found.standard_error < 0.1
    moved = two_sample_auroc(rows(0), rows(1) + 1, key=jax.random.key(0))
    assert moved.auroc > 0.5 + 4 * moved.standard_error
    apart = two_sample_auroc(rows(0), rows(1) + 100, key=jax.random.key(0))
    assert apart == (1, 0)


def test_the_same_columns_that_hang_together_otherwise_are_told():
    """Each column alone has the same distribution."""
    real, fake = rows(0, 250, 2), rows(1, 250, 2)
    real[:, 1] = 0.95 * real[:, 0] + np.sqrt(1 - 0.95**2) * real[:, 1]
    found = two_sample_auroc(real, fake, key=jax.random.key(0))
    assert found.auroc > 0.5 + 4 * found.standard_error


def test_samples_that_are_all_alike_are_told():
    fake = np.repeat(rows(1)[:1], 150, axis=0)
    assert two_sample_auroc(rows(0), fake, key=jax.random.key(0)).auroc > 0.95


@pytest.mark.parametrize("move", [lambda x: 1.7e9 + x, lambda x: 1e-50 * x, lambda x: 1e40 * x])
def test_neither_origin_nor_scale_counts(move, monkeypatch):
    monkeypatch.setattr(_two_sample_auroc, "_TREES", 10)
    real, fake = rows(0, 40, 2), rows(1, 40, 2) + 20
    assert two_sample_auroc(move(real), move(fake), key=jax.random.key(0)) == (1, 0)


def test_any_growing_function_of_a_column_gives_the_same_area(monkeypatch):
    """One great number does not make the others equal."""
    monkeypatch.setattr(_two_sample_auroc, "_TREES", 10)
    real, fake = rows(0, 40, 2), rows(1, 40, 2) + 0.5
    curved = [np.stack([np.sinh(20 * x[:, 0]), 3 * x[:, 1]], axis=1) for x in (real, fake)]
    key = jax.random.key(0)
    assert two_sample_auroc(real, fake, key=key) == two_sample_auroc(*curved, key=key)


def test_samples_that_repeat_the_data_are_far_below_chance(monkeypatch):
    monkeypatch.setattr(_two_sample_auroc, "_TREES", 20)
    assert two_sample_auroc(rows(0, 60), rows(0, 60), key=jax.random.key(0)).auroc < 0.3


def test_the_standard_error_is_no_smaller_than_the_spread_over_draws(monkeypatch):
    monkeypatch.setattr(_two_sample_auroc, "_TREES", 20)
    found = np.asarray(
        [
            two_sample_auroc(rows(2 * k, 20), rows(2 * k + 1, 20), key=jax.random.key(k))
            for k in range(12)
        ]
    )
    z = (found[:, 0] - 0.5) / found[:, 1]
    # A mean square of 12 normal numbers is below 2.6 but for four standard errors.
    assert np.mean(z**2) < 1 + 4 * np.sqrt(2 / 12)


def test_the_area_is_scikit_learns_and_its_variance_that_of_a_bootstrap():
    random = np.random.default_rng(0)
    fake, real = random.normal(size=60).round(1) + 0.8, random.normal(size=40).round(1)
    area, variance = _two_sample_auroc._area(fake, real)
    truth = np.repeat([1, 0], [60, 40])
    assert area == pytest.approx(roc_auc_score(truth, np.concatenate([fake, real])))
    draws = [
        _two_sample_auroc._area(random.choice(fake, 60), random.choice(real, 40))[0]
        for _ in range(2000)
    ]
    assert variance == pytest.approx(np.var(draws), rel=4 * np.sqrt(2 / 2000) + 0.05)


def test_a_key_gives_the_same_answer_again(monkeypatch):
    monkeypatch.setattr(_two_sample_auroc, "_TREES", 20)
    first, again, other = (
        two_sample_auroc(rows(0, 20), rows(1, 20), key=jax.random.key(k)) for k in (0, 0, 1)
    )
    assert first == again != other


def test_too_few_rows_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="10 rows or more each, got 9 and 30"):
        two_sample_auroc(rows(0, 9), rows(1, 30), key=jax.random.key(0))
    with pytest.raises(ValueError, match="the same columns"):
        two_sample_auroc(rows(0), rows(1, width=2), key=jax.random.key(0))
