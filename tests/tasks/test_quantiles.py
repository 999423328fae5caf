"""Columns as normal scores and back to values that can be."""

import numpy as np
import pytest
from scipy.stats import kstest, norm

from pullback.tasks import _quantiles
from pullback.tasks._quantiles import fit_quantiles


def there_and_back(x, count=4000):
    column = np.asarray(x, float)[:, None]
    found = fit_quantiles(column)
    return found.from_scores(np.random.default_rng(0).normal(size=(count, 1)))[:, 0]


def test_scores_of_rows_are_normal_and_lead_back():
    x = np.random.default_rng(0).lognormal(size=(300, 2))
    found = fit_quantiles(x)
    t = found.to_scores(x)
    np.testing.assert_array_equal(found.to_scores(x, np.random.RandomState(0)), t)  # none repeats
    assert kstest(t[:, 0], norm.cdf).pvalue > 0.99
    np.testing.assert_allclose(found.from_scores(t), x, rtol=1e-9)
    between = np.quantile(x, [[0.111, 0.5], [0.313, 0.787]], axis=0)[..., 0].T
    np.testing.assert_allclose(found.from_scores(found.to_scores(between)), between, rtol=1e-9)


def test_zeros_are_drawn_as_often_as_they_were_seen_and_nothing_beside_them():
    random = np.random.default_rng(0)
    x = np.where(random.random(500) < 0.4, 0.0, random.gamma(2, size=500) + 0.5)
    drawn = there_and_back(x)
    share = np.mean(x == 0)
    assert abs(np.mean(drawn == 0) - share) < 4 * np.sqrt(share * (1 - share) / 4000)
    assert ((drawn == 0) | (drawn >= x[x > 0].min())).all()
    assert len(np.unique(drawn)) > 1000  # the rest is no list of values


def test_a_score_lies_in_the_share_of_its_value():
    x = np.repeat([0.0, 1.0], [30, 70])[:, None]
    found = fit_quantiles(x)
    assert norm.cdf(found.to_scores(np.asarray([[0.0], [1.0]])))[:, 0] == pytest.approx(
        [0.15, 0.65]
    )
    spread = norm.cdf(found.to_scores(np.zeros((2000, 1)), np.random.RandomState(0)))
    assert 0 < spread.min() < 0.02
    assert 0.28 < spread.max() < 0.3
    np.testing.assert_array_equal(found.from_scores(norm.ppf(spread)), 0)


@pytest.mark.parametrize(
    ("x", "step"),
    [
        (np.arange(0, 4000, 37), 1),  # whole numbers, none of which repeats
        (np.random.default_rng(0).integers(0, 50, 200) / 10, 0.1),
        (np.random.default_rng(0).poisson(4, 200), 1),
    ],
)
def test_columns_on_a_grid_stay_on_it_and_within_what_was_seen(x, step):
    drawn = there_and_back(x)
    assert drawn.min() >= x.min()
    assert drawn.max() <= x.max()
    np.testing.assert_array_equal(drawn, np.round(drawn / step) / round(1 / step))


def test_scores_go_on_beyond_what_was_seen():
    x = np.random.default_rng(0).normal(size=(200, 1))
    found = fit_quantiles(x)
    low, top, far = found.to_scores(np.asarray([[-9.0], [x.max()], [9.0]]))[:, 0]
    assert far == pytest.approx(top + (9 - x.max()) / x.std())
    assert low < -8
    assert found.from_scores(np.asarray([[20.0]])) == x.max()


def test_a_value_far_beyond_most_is_far_though_it_was_seen():
    x = np.random.default_rng(0).normal(size=(200, 1))
    plain = fit_quantiles(x)
    np.testing.assert_allclose(plain.how_far(x), plain.to_scores(x), atol=0.8)
    inner = np.abs(x) < 1.5
    np.testing.assert_array_equal(plain.how_far(x)[inner], plain.to_scores(x)[inner])
    x[7], x[9] = 40.0, -40.0
    found = fit_quantiles(x)
    assert found.to_scores(x[[7, 9]])[:, 0] == pytest.approx([2.81, -2.81], abs=0.01)
    assert found.how_far(x[[7]]) > 8
    assert found.how_far(x[[9]]) < -8
    order = np.argsort(x[:, 0])
    assert (np.diff(found.how_far(x)[order, 0]) >= 0).all()


def test_of_many_rows_some_quantiles_are_kept(monkeypatch):
    monkeypatch.setattr(_quantiles, "_LEVELS", 100)
    x = np.random.default_rng(0).normal(size=(1000, 1))
    found = fit_quantiles(x)
    assert found.levels.shape == (1, 100)
    assert found.levels[0, [0, -1]].tolist() == [x.min(), x.max()]
    assert kstest(found.to_scores(x)[:, 0], norm.cdf).statistic < 0.02


def test_no_columns_have_no_scores():
    found = fit_quantiles(np.zeros((5, 0)))
    assert found.to_scores(np.zeros((3, 0))).shape == found.from_scores(np.zeros((3, 0))).shape


@pytest.mark.parametrize(
    "seen",
    [
        [1, 2.04, 3],
        [0, 0.33, 0.67, 1],
        [0, 0.333, 0.667, 1],
        [10, 20.4, 30],
        [-1.5, 0.02, 1.5],
        [0, 1, 2, 3.04],
        [10, 20.4],
        np.random.default_rng(0).random(3),
        0.1 * np.arange(7) + 0.3,  # 0.6000000000000001 and others
        np.float32([0.1, 0.3, 0.2, 0.7]),
    ],
)
def test_of_values_that_repeat_those_alone_are_drawn(seen):
    drawn = there_and_back(np.resize(np.asarray(seen, float), 60))
    assert set(drawn) == set(np.asarray(seen, float))


def test_values_that_repeat_are_drawn_alone_though_few_quantiles_are_kept(monkeypatch):
    monkeypatch.setattr(_quantiles, "_LEVELS", 100)
    random = np.random.default_rng(0)
    seen = random.normal(size=150)
    drawn = there_and_back(np.repeat(seen, 3))
    assert set(drawn) <= set(seen)
    x = np.where(random.random(900) < 0.4, 0.0, random.gamma(2, size=900))
    assert len(np.unique(there_and_back(x))) > 1000
