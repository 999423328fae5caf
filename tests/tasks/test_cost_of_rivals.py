"""What a comparison costs is bounded, and where it is cut that is said."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture

from pullback.tasks import _class_scores, _gan, _mixture, _regression_scores, _report, _rivals
from pullback.tasks._field import Frame
from pullback.tasks._mixture import Kind, choose_kind
from pullback.tasks._smooth import Smooth
from pullback.tasks._table_classifier import _parts
from pullback.tasks._trajectories import Trajectory


@pytest.fixture
def asked(monkeypatch):
    """What each of scikit-learn's was fitted to, which here is fitted to some rows of it."""
    shapes = {}

    def note(kind, fitted):
        def fit(self, x, *rest):
            shapes.setdefault(kind.__name__, []).append((self, x.shape))
            some = slice(None, None, max(1, len(x) // 400))
            return fitted(self, x[some], *(part[some] for part in rest))

        monkeypatch.setattr(kind, "fit", fit)

    for kind in (GaussianMixture, LogisticRegression, HistGradientBoostingClassifier):
        note(kind, kind.fit)
    for kind in (BayesianRidge, HistGradientBoostingRegressor):
        note(kind, lambda self, *_: self)
    mean, std = np.zeros(5), np.ones(5)
    monkeypatch.setattr(BayesianRidge, "predict", lambda *_, **__: (mean, std))
    monkeypatch.setattr(HistGradientBoostingRegressor, "predict", lambda *_: mean)
    return shapes


@pytest.mark.parametrize(("count", "dim"), [(300_000, 3), (8000, 400)])
def test_a_mixture_is_fitted_to_as_many_rows_as_take_seconds(asked, count, dim, monkeypatch):
    z = np.random.default_rng(0).normal(size=(count, dim))
    told = []
    log_prob = _mixture.Mixture.log_prob
    monkeypatch.setattr(
        _mixture.Mixture, "log_prob", lambda self, z: told.append(len(z)) or log_prob(self, z[:9])
    )
    parts = _report.split(count, np.random.RandomState(0))
    kind, _ = choose_kind(z, parts.folds(0), 0)
    kind.fit(z[parts.train], 0)
    Kind(5, "full").fit(z[parts.train], 0)
    for mixture, (rows, columns) in asked["GaussianMixture"]:
        wide = columns if mixture.covariance_type == "full" else 1
        assert rows <= 20_000
        assert mixture.n_components == 1 or mixture.n_components * rows * columns * wide <= 10**9
    assert max(told) <= 10_000
    tried = {m.n_components for m, _ in asked["GaussianMixture"] if m.covariance_type == "full"}
    assert tried >= ({1, 2, 3} if dim == 3 else {1, 2})
    assert (3 in tried) == (dim == 3)


def test_so_many_rows_judge_a_density_as_tell_how_good_it_is():
    few, many = (_report.split(count, np.random.RandomState(0)) for count in (1000, 300_000))
    assert [*map(len, few)] == [700, 150, 150]
    assert [*map(len, many)] == [260_000, 20_000, 20_000]
    assert len(np.unique(np.concatenate(many))) == 300_000
    codes = np.arange(300_000) % 3
    choose, test = _parts(codes, np.random.RandomState(0))
    assert (len(choose), len(test)) == (20_000, 20_000)
    assert _gan._JUDGES == 10_000


def test_what_the_others_of_a_density_had_is_said():
    assert _report.told_of_others(5000, 5000) == []
    [said] = _report.told_of_others(260_000, 20_000)
    assert "Of the 260,000 rows that trained the mixture was fitted to 20,000, and" in said
    [said] = _report.told_of_others(9000, 9000)
    assert said.startswith("Of the 9,000 rows that trained the kernel density has 5,000")


@pytest.mark.parametrize("order", ["sorted", "mixed"])
def test_other_classifiers_learn_from_some_rows_of_every_class(asked, order):
    random = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2, -1], [150_000, 1, 149_999, 5000])
    codes = codes if order == "sorted" else random.permutation(codes)
    z = random.normal(size=(len(codes), 2))
    known = _class_scores._taught(codes, 6)
    assert 20_000 <= len(known) <= 20_003
    assert set(codes[known]) == {0, 1, 2}
    counts = np.bincount(codes[known])
    assert abs(counts[0] - counts[2]) < 5
    with np.errstate(all="ignore"):
        found = _class_scores.quiet_others(z, codes.clip(max=1), z[:5], 2)
    assert set(found) == {"logistic regression", "boosted trees"}
    assert [shape for shapes in asked.values() for _, shape in shapes] in (
        2 * [(20_000, 2)], 2 * [(20_001, 2)],
    )  # fmt: skip
    [said] = _class_scores.told_of_others(codes, 2, 3, found)
    assert said.startswith(f"The others have learned from {len(known):,} of 300,000 rows")
    assert _class_scores.told_of_others(codes[:10_000] * 0, 2, 3, found) == []


def test_trees_of_many_columns_and_classes_are_not_asked_and_that_is_said(asked):
    random = np.random.default_rng(0)
    z, codes = random.normal(size=(2500, 300)), np.arange(2500) % 100
    found = _class_scores.quiet_others(z, codes, z[:5], 100)
    assert set(found) == {"logistic regression"}
    assert (
        asked == {"LogisticRegression": [(None, (2099, 300))]}
        or asked["LogisticRegression"][0][1][0] <= 2100
    )
    [said] = _class_scores.told_of_others(codes, 300, 100, found)
    assert "boosted trees would take minutes" in said


@pytest.mark.parametrize(("shape", "taught"), [((50_000, 4), 20_000), ((3000, 2000), 2500)])
def test_other_regressions_learn_from_as_many_rows_as_take_seconds(
    asked, shape, taught, monkeypatch
):
    monkeypatch.setattr(BayesianRidge, "predict", lambda *_, **__: (np.zeros(5), np.ones(5)))
    x = np.zeros(shape)
    x[:, 0] = np.arange(len(x))
    found = _regression_scores.others(x, x[:, 0] / 1e4, x[:5])
    assert {shape[0] for shapes in asked.values() for _, shape in shapes} == {taught}
    ours = {"this model": found["Bayesian ridge"], **found}
    report = _regression_scores.judge(ours, np.zeros(5))
    said = _regression_scores.number_verdict(report, 5, "held out", shape)
    assert f"The others have learned from {taught:,} of {shape[0]:,} rows" in said
    small = _regression_scores.number_verdict(report, 5, "held out", (900, 3))
    assert "have learned" not in small


def test_rivals_of_trajectories_learn_from_so_many_times(monkeypatch):
    seen = []
    fit = Ridge.fit
    monkeypatch.setattr(Ridge, "fit", lambda self, x, y: seen.append(len(x)) or fit(self, x, y))

    random, ts = np.random.default_rng(0), np.linspace(0, 1, 30_000)
    ys = [random.normal(size=(len(ts), 1)) for _ in range(2)]
    smooths = [Smooth(Trajectory("one", ts, y), y, 1 + 0 * y) for y in ys]
    one = np.ones(1)
    frame = Frame(0 * one, one, np.asarray(1.0), -9 * one, 9 * one)
    model = _rivals._regression(smooths, frame, None, 1, 1e-2)
    assert seen == [20_000]
    np.testing.assert_allclose(model.predict([[0.3]]), [1.0], atol=0.01)
