"""The density of a table: a mass of one, the right values, and the rows that are to blame."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm, t
from sklearn.exceptions import ConvergenceWarning

from pullback.tasks import FlowDensity, _flows, _mixture, load


def banana(rows, seed):
    """Rows, and their true log-density: a normal column, and one beside its square."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, rows))
    true = norm.logpdf(a) + norm.logpdf(b) - np.log(0.3)
    return np.stack([a, a**2 + 0.3 * b], axis=1), true


@pytest.fixture(scope="module")
def bent():
    """A flow that starts from so poor a mixture that it has something to learn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_mixture, "_COMPONENTS", (1, 2, 3))
        return FlowDensity(random_state=0).fit(banana(1500, 0)[0])


def cells(model, lower, upper, points=400):
    """The middles of the cells of a box, and the mass of each by a density."""
    axes = [
        (np.arange(points) + 0.5) / points * (b - a) + a for a, b in zip(lower, upper, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    cell = np.prod([(b - a) / points for a, b in zip(lower, upper, strict=True)])
    return grid, np.exp(model.score_samples(grid)) * cell


def mass(model, *box, **points):
    """The integral of a density over a box."""
    return cells(model, *box, **points)[1].sum()


def test_a_trained_flow_has_the_mass_one_and_is_better_than_its_mixture(bent, monkeypatch):
    monkeypatch.setattr(_mixture, "_COMPONENTS", (1, 2, 3))
    assert bent.n_steps_ > 0
    assert mass(bent, (-7, -6), (7, 30)) == pytest.approx(1, abs=0.01)
    rows, true = banana(4000, 1)
    start = FlowDensity(random_state=0, max_steps=0).fit(banana(1500, 0)[0])
    assert 0 <= true.mean() - bent.score(rows) < 0.25
    assert bent.score(rows) > start.score(rows) + 0.2
    report = bent.report_
    assert report is not None
    assert report["rows"] == 225
    assert report["mixture of Gaussians"]["behind"] > 3 * _error(report)
    assert "ahead" not in bent.notes_[-1]


def _error(report):
    return report["mixture of Gaussians"]["standard_error"]


def test_where_the_flow_gains_nothing_for_sure_the_model_is_the_mixture():
    x = np.random.default_rng(0).normal(size=(500, 2))
    model = FlowDensity(random_state=0).fit(x)
    start = FlowDensity(random_state=0, max_steps=0).fit(x)
    assert model.n_steps_ == 0
    assert "mixture of Gaussians the same" in " ".join(model.notes_)
    np.testing.assert_array_equal(model.score_samples(x), start.score_samples(x))
    assert model.report_ is not None
    assert model.report_["mixture of Gaussians"]["behind"] == 0


def test_the_log_density_is_that_of_the_change_of_variables(bent):
    """By central differences of the whole map, in double precision."""
    rows = banana(20, 2)[0]

    def to_base(x):
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            double = lambda leaf: (
                leaf.astype(jnp.float64)
                if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)
                else leaf
            )
            flow = jax.tree.map(double, bent.flow_)
            z, _ = bent.map_.to_line(x)
            return np.asarray(flow.inverse_and_log_det(jnp.asarray(z))[0]), flow

    step = 1e-5 * np.eye(2)
    slopes = [(to_base(rows + h)[0] - to_base(rows - h)[0]) / 2e-5 for h in step]
    base, flow = to_base(rows)
    log_det = np.linalg.slogdet(np.stack(slopes, axis=2))[1]
    known = np.asarray(flow.base.log_prob(jnp.asarray(base))) + log_det
    np.testing.assert_allclose(bent.score_samples(rows), known, rtol=1e-4, atol=1e-4)


def test_draws_have_the_moments_of_the_density(bent):
    draws = bent.sample(5000, random_state=0)
    grid, weight = cells(bent, (-7, -6), (7, 30))
    mean = weight @ grid
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.1)
    np.testing.assert_allclose(
        np.cov(draws.T), (weight * (grid - mean).T) @ (grid - mean), atol=0.3
    )
    entropy = weight @ np.log(np.maximum(weight, 1e-300) / weight.max())
    scores = bent.score_samples(draws) - bent.score_samples(grid).max()
    assert scores.mean() == pytest.approx(entropy, abs=0.06)
    np.testing.assert_array_equal(draws[:5], bent.sample(5, random_state=0))


def test_scores_do_not_hang_on_what_is_beside_them(bent):
    rows = banana(2600, 4)[0]
    scores = bent.score_samples(rows)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(bent.score_samples(rows[order]), scores[order])
    for size in (1, 7, 1300):
        parts = [bent.score_samples(rows[k : k + size]) for k in range(0, 2 * size, size)]
        np.testing.assert_array_equal(np.concatenate(parts), scores[: 2 * size])


def test_logarithms_are_left_where_columns_lie_on_a_plane():
    """Each column is skewed; but their sum is a column too, which logarithms would bend."""
    parts = np.random.default_rng(0).lognormal(0, 0.5, size=(400, 2))
    near = parts.sum(axis=1) + 0.01 * np.random.default_rng(1).normal(size=400)
    plane = FlowDensity(random_state=0, max_steps=0).fit(np.column_stack([parts, near]))
    assert not plane.map_.log.any()
    assert FlowDensity(random_state=0, max_steps=0).fit(parts).map_.log.all()


def test_the_mixture_that_was_chosen_is_fitted_to_all_rows(monkeypatch):
    """One component has the moments of them all, but for the shrinkage of a covariance."""
    monkeypatch.setattr(_mixture, "_COMPONENTS", (1,))
    rows = np.random.default_rng(0).normal(size=(100, 2)) @ [[1.0, 0.5], [0.0, 2.0]] + 5
    model = FlowDensity(random_state=0, max_steps=0).fit(rows)
    np.testing.assert_allclose(model.map_.mean, rows.mean(axis=0), rtol=1e-12)
    known = multivariate_normal(rows.mean(axis=0), np.cov(rows.T, bias=True))
    assert abs(model.score(rows) - known.logpdf(rows).mean()) < 0.01
    assert "fitted to all rows" in " ".join(model.notes_)


def test_the_threshold_is_the_share_that_was_asked_for():
    rows = banana(400, 0)[0]
    for share in (0.02, 0.1, 0.5):
        model = FlowDensity(contamination=share, max_steps=0, random_state=0).fit(rows)
        assert (model.predict(rows) == -1).mean() == pytest.approx(share, abs=2 / 400)
        below = model.share_below(model.score_samples(rows))
        assert ((below < share) == (model.predict(rows) == -1)).mean() > 0.99
        assert below.min() >= 0
        assert below.max() <= 1


def test_a_known_normal_density_of_skewed_columns():
    """Log-normal columns: the Gaussian of their logarithms, and the slope of the logarithm."""
    random = np.random.default_rng(0)
    normal: Any = multivariate_normal
    law = normal([1.0, -2.0], [[0.5, 0.3], [0.3, 0.4]])
    x, fresh = np.exp(law.rvs(3000, random)), np.exp(law.rvs(2000, random))
    model = FlowDensity(max_steps=0, random_state=0).fit(x)
    assert model.map_.log.tolist() == [True, True]
    assert any("logarithms: x1, x2" in note for note in model.notes_)
    true = law.logpdf(np.log(fresh)) - np.log(fresh).sum(axis=1)
    assert true.mean() - model.score(fresh) == pytest.approx(0, abs=0.01)
    assert np.quantile(np.abs(model.score_samples(fresh) - true), 0.99) < 0.3
    assert np.isneginf(model.score_samples([[-1.0, 1.0]])).all()
    assert model.predict([[-1.0, 1.0]]).tolist() == [-1]
    assert mass(model, (0, 0), (60, 3)) == pytest.approx(1, abs=0.01)


def test_one_column_and_heavy_tails():
    random = np.random.default_rng(0)
    x = random.standard_t(2, size=(2000, 1))
    model = FlowDensity(max_steps=0, copula=True, random_state=0).fit(x)
    fresh = random.standard_t(2, size=(5000, 1))
    assert model.score(fresh) == pytest.approx(t.logpdf(fresh, 2).mean(), abs=0.02)
    line = np.linspace(-400, 400, 200_001)[:, None]
    total = np.exp(model.score_samples(line)).sum() * 800 / 200_000
    assert total == pytest.approx(1, abs=0.02)


def test_the_planted_column_is_to_blame():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4)) @ np.linalg.cholesky(0.5 * np.eye(4) + 0.5).T
    model = FlowDensity(max_steps=0, random_state=0).fit(x)
    odd = x[:4].copy()
    odd[np.arange(4), np.arange(4)] += 6
    gain = model.explain(odd)
    assert gain.argmax(axis=1).tolist() == [0, 1, 2, 3]
    # In a normal density of one column the gain is that of the mean density of usual values.
    one = FlowDensity(max_steps=0, random_state=0).fit(x[:, :1])
    mean = np.log(np.mean(np.exp(one.score_samples(one.levels_))))
    far = np.array([[5.0]])
    np.testing.assert_allclose(one.explain(far), mean - one.score_samples(far)[:, None], rtol=1e-9)


def test_rows_with_holes_keep_their_place():
    rows = banana(100, 0)[0]
    rows[[3, 50, 98], [0, 1, 0]] = np.nan
    model = FlowDensity(random_state=0).fit(rows)
    whole = FlowDensity(random_state=0).fit(rows[~np.isnan(rows).any(axis=1)])
    scores = model.score_samples(rows)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [3, 50, 98]
    at = ~np.isnan(scores)
    np.testing.assert_array_equal(scores[at], whole.score_samples(rows[at]))
    assert model.score(rows) == np.mean(scores[at])
    assert np.isnan(model.explain(rows[3:4])).all()
    note = "3 of 100 rows have holes and were left out (x1 in 2, x2 in 1); the first are rows 4, "
    assert model.notes_[0].startswith(note)
    with pytest.raises(ValueError, match=r"two or more rows without holes; 0 of 3 are whole"):
        FlowDensity().fit(np.full((3, 2), np.nan))


def test_columns_of_no_density_are_left_out_with_a_sentence(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(60, 2)), columns=["a", "b"])
    frame["sample_id"] = range(60)
    frame["day"] = pd.date_range("2024-01-01", periods=60)
    frame["kind"] = ["x", "y"] * 30
    frame["same"] = 3.0
    frame["twice"] = 2 * frame["a"]
    frame["count"] = random.integers(0, 4, 60)
    frame.to_csv(tmp_path / "t.csv", index=False)
    for given in (frame, tmp_path / "t.csv"):
        model = FlowDensity(random_state=0).fit(given)
        assert model.columns_ == ("a", "b", "count")
        assert model.id_column_ == "sample_id"
        assert list(model.left_out_) == ["sample_id", "day", "kind", "same", "twice"]
        said = " ".join(model.notes_)
        assert "day (dates;" in said
        assert "twice (it follows from the columns before it)" in said
        assert "count (1)" in said
        draws = model.sample(20, random_state=0)
        np.testing.assert_array_equal(draws[:, 2], np.round(draws[:, 2]))
        np.testing.assert_array_equal(model.score_samples(given), model.score_samples(frame))
    chosen = FlowDensity(columns=["b"], random_state=0).fit(tmp_path / "t.csv")
    assert chosen.columns_ == ("b",)
    with pytest.raises(ValueError, match="no column 'c'"):
        FlowDensity(columns=["c"]).fit(frame)
    with pytest.raises(ValueError, match="'kind' of the DataFrame is text"):
        FlowDensity(columns=["a", "kind"]).fit(frame)
    with pytest.raises(ValueError, match="lacks columns of which the model is: b"):
        chosen.score_samples(frame[["a"]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "gan"}, "must be 'residual-flow', 'spline-coupling' or 'cnf', got 'gan'"),
        ({"contamination": 0.0}, r"`contamination` must be in \(0, 0.5\], got 0.0"),
        ({"max_steps": -1}, "`max_steps` must be 0 or more, got -1"),
        ({"columns": [2]}, "places from 0 to 1, got .2."),
        ({"id_column": "name"}, "an array has no 'name'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FlowDensity(**settings).fit(banana(30, 0)[0])


def test_a_table_without_a_density_is_refused():
    with pytest.raises(ValueError, match="every column is the same in all rows"):
        FlowDensity().fit(np.ones((30, 2)))
    with pytest.raises(ValueError, match="`n_samples` must be 1 or more, got 0"):
        FlowDensity(max_steps=0).fit(banana(30, 0)[0]).sample(0)
    with pytest.raises(ValueError, match="infinity in row 2"):
        FlowDensity().fit(pd.DataFrame({"a": [1.0, np.inf, 3.0], "b": [1.0, 2.0, 4.0]}))


@pytest.mark.slow
def test_a_continuous_flow(monkeypatch):
    monkeypatch.setattr(_mixture, "_COMPONENTS", (1, 2, 3))
    model = FlowDensity("cnf", random_state=0).fit(banana(1500, 0)[0])
    assert model.n_steps_ > 0
    assert mass(model, (-7, -6), (7, 30), points=200) == pytest.approx(1, abs=0.01)
    rows, true = banana(4000, 1)
    assert 0 <= true.mean() - model.score(rows) < 0.25
    draws = model.sample(3000, random_state=0)
    np.testing.assert_allclose(draws.mean(axis=0), rows.mean(axis=0), atol=0.12)
    assert model.score(draws) == pytest.approx(model.score(rows), abs=0.1)


@pytest.fixture(scope="module")
def splined():
    """As `bent`, by splines, and rows with a hole among those fitted."""
    rows = banana(1500, 0)[0]
    rows[[3, 50], [0, 1]] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_mixture, "_COMPONENTS", (1, 2, 3))
        return FlowDensity("spline-coupling", random_state=0, max_steps=600).fit(rows)


def test_splines_have_the_mass_one_and_come_nearer_to_the_truth(splined, monkeypatch):
    monkeypatch.setattr(_mixture, "_COMPONENTS", (1, 2, 3))
    assert splined.n_steps_ > 0
    assert mass(splined, (-7, -6), (7, 30)) == pytest.approx(1, abs=0.01)
    rows, true = banana(4000, 1)
    start = FlowDensity("spline-coupling", random_state=0, max_steps=0).fit(banana(1500, 0)[0])
    assert 0 <= true.mean() - splined.score(rows) < 0.15
    assert splined.score(rows) > start.score(rows) + 0.3
    draws = splined.sample(4000, random_state=0)
    error = 4 * rows.std(axis=0) / np.sqrt(4000)
    assert (np.abs(draws.mean(axis=0) - [0.0, 1.0]) < error + 0.05).all()
    assert splined.score(draws) == pytest.approx(splined.score(rows), abs=0.1)


def test_splines_score_to_the_bit_whatever_is_beside_and_once_saved(splined, tmp_path):
    rows = banana(2100, 4)[0]
    scores = splined.score_samples(rows)
    parts = [splined.score_samples(rows[k : k + 7]) for k in range(0, 70, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), scores[:70])
    splined.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.method == "spline-coupling"
    np.testing.assert_array_equal(again.score_samples(rows), scores)
    np.testing.assert_array_equal(
        again.sample(5, random_state=0), splined.sample(5, random_state=0)
    )
    assert again.notes_[0].startswith("2 of 1500 rows have holes")
    assert np.isnan(splined.score_samples([[np.nan, 1.0]])).all()
    far = splined.explain([[0.0, 8.0]])
    assert far.argmax() == 1
    assert (splined.score_samples([[1e3, 1e6], [-1e20, 0.0]]) < -100).all()


@pytest.mark.slow
def test_the_exact_density_of_a_correlated_normal_by_splines():
    """Of 3 columns; 2000 rows leave some 0.005 nats of an estimate of 9 moments."""
    law: Any = multivariate_normal([1.0, -2.0, 0.0], [[2, 1, 0.5], [1, 1, 0.2], [0.5, 0.2, 3]])
    random = np.random.default_rng(0)
    fresh = law.rvs(4000, random)
    model = FlowDensity("spline-coupling", random_state=0, max_steps=100)
    behind = law.logpdf(fresh) - model.fit(law.rvs(2000, random)).score_samples(fresh)
    assert abs(behind.mean()) < 0.02 + 4 * behind.std() / np.sqrt(4000)
    assert behind.std() < 0.2


@pytest.mark.slow
def test_two_moons_by_splines_beside_the_mixture(monkeypatch):
    from sklearn.datasets import make_moons

    monkeypatch.setattr(_mixture, "_COMPONENTS", (1, 2, 3))
    rows, fresh = (make_moons(n, noise=0.07, random_state=n)[0] for n in (1500, 4000))
    model = FlowDensity("spline-coupling", random_state=0).fit(rows)
    start = FlowDensity("spline-coupling", random_state=0, max_steps=0).fit(rows)
    assert model.score(fresh) > start.score(fresh) + 0.3
    assert mass(model, (-2.5, -2), (3.5, 2.5)) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_one_column_by_splines():
    """A Laplace density, by splines alone."""
    random = np.random.default_rng(0)
    model = FlowDensity("spline-coupling", random_state=0, max_steps=100)
    model.fit(random.laplace(size=(1000, 1)))
    fresh = random.laplace(size=(4000, 1))
    known = -np.log(2) - np.abs(fresh[:, 0])
    assert model.score(fresh) == pytest.approx(known.mean(), abs=0.05)
    line = np.linspace(-30, 30, 20_001)[:, None]
    assert np.exp(model.score_samples(line)).sum() * 0.003 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("method", ["residual-flow", "cnf"])
def test_columns_that_are_not_there_have_no_part_in_training(method, x32):
    """What they weigh stays 0, and so does what becomes of them."""
    rows = np.random.default_rng(0).normal(size=(128, 3)) ** 3
    mixture = _mixture.Kind(1, "full").fit(rows[:64] + 2, 0)  # so there is much to gain
    wide = _flows.Size(method, 4, 8, 2, 32, 20, 0.05, 10, 128)
    flow: Any
    flow, steps = _flows.train(wide, mixture, rows, rows, seed=0, progress=False)
    assert steps == 20
    part = flow.field if method == "cnf" else flow.bijection.parts[0].layers.net
    assert (np.asarray(part.layers[0].weight)[..., 3] == 0).all()
    assert (np.asarray(part.layers[-1].weight)[..., 3, :] == 0).all()
    assert np.abs(part.layers[-1].weight).max() > 0.01
    z, _ = flow.inverse_and_log_det(jnp.asarray(np.pad(rows, ((0, 0), (0, 1))), jnp.float32))
    assert (np.asarray(z)[:, 3] == 0).all()
    assert np.abs(z[:, :3] - rows).max() > 0.01
    with pytest.warns(ConvergenceWarning, match="could not be trained"):
        start, steps = _flows.train(
            wide._replace(rate=1e30), mixture, rows, rows, seed=0, progress=False
        )
    assert steps == 0
    np.testing.assert_allclose(_flows.log_prob(start, rows), mixture.log_prob(rows), rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-200, 1e3, 1e200])
def test_another_unit_moves_every_score_alike(unit):
    rows = np.random.default_rng(0).normal(size=(80, 2))
    scores = FlowDensity(random_state=0).fit(rows).score_samples(rows)
    moved = FlowDensity(random_state=0).fit(unit * rows).score_samples(unit * rows)
    np.testing.assert_allclose(moved + 2 * np.log(unit), scores, atol=1e-3)


@pytest.mark.parametrize("rows", [2, 3, 20])
def test_fewer_rows_than_columns_have_a_density_all_the_same(rows):
    random = np.random.default_rng(0)
    model = FlowDensity(random_state=0).fit(random.normal(size=(rows, 30)))
    fresh = model.score_samples(random.normal(size=(50, 30)))
    assert np.isfinite(fresh).all()
    if rows == 20:  # a normal density that is known has -42.6
        assert -60 < fresh.mean() < -42
