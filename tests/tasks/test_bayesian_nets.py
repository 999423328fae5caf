"""Numbers and classes by networks of random weights: right means, and bands that hold."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import norm
from sklearn.linear_model import Ridge

from pullback.tasks import BayesianNetClassifier, BayesianNetRegressor, load, write_report
from pullback.tasks import _bayes_nets as nets
from pullback.tasks._bands import Bands
from pullback.tasks._regression_scores import Predicted, judge, number_verdict
from pullback.tasks._regression_start import Errors, cross_errors, fit_line


def bent(rows, seed):
    """A curve whose noise grows: the inputs, the numbers, their means and deviations."""
    random = np.random.default_rng(seed)
    x = random.uniform(-2, 2, size=(rows, 2))
    mean, std = 5 * x[:, 0] ** 2 + 40, 0.5 + (x[:, 1] + 2)
    return x, mean + std * random.normal(size=rows), mean, std


def straight(rows, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    return x, x @ [3.0, -1.0, 0.0] + 50 + 2 * random.normal(size=rows)


@pytest.fixture(scope="module")
def curved():
    return BayesianNetRegressor(max_steps=300, random_state=0).fit(*bent(700, 0)[:2])


def covered(model, x, y, level):
    low, high = model.predict_interval(x, level).T
    return ((low <= y) & (y <= high)).mean()


def test_a_line_is_ridge_regression_whose_deviation_is_the_noise():
    x, y = straight(200, 0)
    fresh, true = straight(4000, 1)
    model = BayesianNetRegressor(random_state=0).fit(x, y)
    assert model.n_steps_ == 0
    mean, std = model.predict(fresh, return_std=True)
    np.testing.assert_allclose(mean, Ridge(1.0).fit(x, y).predict(fresh), atol=0.1)
    np.testing.assert_allclose(std, 2, atol=0.25)
    for level in (0.5, 0.8, 0.9, 0.98):
        # Of 200 errors, and of 4000 rows.
        error = np.sqrt(level * (1 - level) * (1 / 200 + 1 / 4000))
        assert covered(model, fresh, true, level) == pytest.approx(level, abs=4 * error)
    levels = (0.1, 0.5, 0.7)
    below = (true[:, None] < model.predict_quantiles(fresh, levels)).mean(axis=0)
    np.testing.assert_allclose(below, levels, atol=4 * np.sqrt(0.25 / 190))


def test_a_network_finds_the_curve_and_where_the_noise_is(curved):
    x, y, mean, std = bent(4000, 1)
    assert curved.n_steps_ > 0
    found, spread = curved.predict(x, return_std=True)
    assert np.sqrt(np.mean((found - mean) ** 2)) < 1.2
    assert np.corrcoef(spread, std)[0, 1] > 0.8
    assert 1 < np.mean(spread / std) < 1.8  # so few steps leave noise that is more alike
    for level in (0.5, 0.9):
        error = np.sqrt(level * (1 - level) * (1 / 280 + 1 / 4000))
        assert covered(curved, x, y, level) == pytest.approx(level, abs=4 * error)
        # Where there is little noise and where there is much.
        for half in (x[:, 1] < 0, x[:, 1] >= 0):
            assert covered(curved, x[half], y[half], level) == pytest.approx(level, abs=0.12)
    other = curved.report_["Bayesian ridge"]
    assert other["square_behind"] > 4 * other["square_error"]
    assert "Bayesian ridge by" in curved.notes_[-1]
    assert "(behind; its 90 % band covers" in curved.notes_[-1]


def test_the_network_starts_at_the_line_and_its_moments_are_those_of_its_paths(curved):
    x = np.random.default_rng(0).normal(size=(5, 2))
    line = nets.Lines(np.array([[1.0, -2.0], [0.0, 0.3]]), np.array([0.5, -1.0]))
    weight, bias = (jnp.asarray(part, jnp.float32) for part in line)
    start = nets.outputs(nets._begin(weight, bias, jax.random.key(0)), x, 0)
    assert start.shape == (32, 5, 2)
    np.testing.assert_allclose(
        start, np.broadcast_to(x @ line.weight.T + line.bias, start.shape), atol=1e-5
    )
    found = nets.outputs(curved.net_, x, curved.seed_)
    assert found[..., 0].std(axis=0).min() > 0
    mean, std = curved._moments(curved.line_, curved.net_, x)
    draws = found[..., 0] + np.exp(found[..., 1]) * np.random.default_rng(0).normal(
        size=(20_000, *found.shape[:2])
    )
    np.testing.assert_allclose(mean, draws.mean(axis=(0, 1)), atol=0.01)
    np.testing.assert_allclose(std, draws.std(axis=(0, 1)), rtol=0.01)


@pytest.mark.parametrize("count", [19, 200])
def test_bands_cover_what_they_say_in_the_mean_over_samples(count):
    random = np.random.default_rng(0)
    inside = []
    for _ in range(3000):
        errors, fresh = random.exponential(size=count) - 1, random.exponential() - 1
        bands = Bands.of(errors)
        inside.append((bands.at(0.1) <= fresh) & (fresh <= bands.at(0.9)))
    # Both ends lie outward, by a place of count + 1 at the most.
    error = 4 * np.sqrt(0.8 * 0.2 / 3000)
    assert 0.8 - error <= np.mean(inside) <= 0.8 + 2 / (count + 1) + error


def test_bands_are_places_among_the_errors_and_normal_beyond_them():
    bands = Bands.of(np.arange(9.0) - 4)
    assert [bands.at(p) for p in (0.1, 0.2, 0.5, 0.8, 0.9)] == [-4, -3, 0, 3, 4]
    assert bands.at(0.83) == 4  # outward
    spread = np.sqrt(np.mean((np.arange(9.0) - 4) ** 2))
    assert bands.at(0.999) == pytest.approx(norm.ppf(0.999) * spread)
    assert bands.at(0.001) == pytest.approx(-norm.ppf(0.999) * spread)
    many = np.random.default_rng(0).normal(size=100_000)
    assert Bands.of(many).errors.shape == (2001,)
    assert Bands.of(many).at(0.95) == pytest.approx(np.quantile(many, 0.95), abs=1e-3)


def test_likelihoods_and_scores_are_those_of_their_definitions():
    outputs = jnp.array([0.3, -0.7])
    found = nets.normal_log_likelihood(outputs, jnp.array(1.1))
    assert float(found) == pytest.approx(norm(0.3, np.exp(-0.7)).logpdf(1.1), rel=1e-6)
    y, mean, std = np.array([0.0, 1.0, 4.0]), np.array([0.0, 2.0, 2.0]), np.array([1.0, 2.0, 0.5])
    errors = Errors.of(mean, std, y)
    np.testing.assert_allclose(errors.log_likelihood, norm(mean, std).logpdf(y))
    np.testing.assert_allclose(errors.scaled, [0, -0.5, 4])
    ours = Predicted(mean, mean - 1, mean + 1, std)
    told = judge({"this model": ours, "zero": Predicted(0 * y, 0 * y, 0 * y + 1, None)}, y)
    assert told["this model"]["rmse"] == pytest.approx(np.sqrt(5 / 3))
    assert told["this model"]["coverage"] == pytest.approx(2 / 3)
    assert told["this model"]["width"] == 2
    assert told["zero"]["log_likelihood"] is None
    assert told["zero"]["square_behind"] == pytest.approx(12 / 3)
    assert told["zero"]["square_error"] == pytest.approx(np.std([0, 0, 12], ddof=1) / np.sqrt(3))
    said = number_verdict(told, 3, "that took no part", (3, 1))
    assert "off by 1.29 (RMSE; its 90 % band covers 66.7 % and is 2 wide), zero by 2.38 " in said
    assert "(no difference for sure; " in said


def test_errors_of_lines_are_those_on_rows_held_out():
    x, y = straight(60, 0)
    x = np.c_[x, np.random.default_rng(1).normal(size=(60, 30))]
    u = (y - y.mean()) / y.std()
    off = cross_errors(x, u, np.random.RandomState(0))
    line = fit_line(x, u)
    inside = (u - x @ line.weight[0] - line.bias[0]) / np.exp(line.bias[1])
    assert np.mean(inside**2) == pytest.approx(1)
    assert np.mean(off**2) > 1.5  # with half as many columns as rows


def test_predictions_do_not_hang_on_what_is_beside_them(curved):
    x = bent(1200, 3)[0]
    x[4, 1] = np.nan
    found = curved.predict_quantiles(x)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_array_equal(curved.predict_quantiles(x[order]), found[order])
    np.testing.assert_array_equal(curved.predict_quantiles(x[4:9]), found[4:9])


def rings(rows, seed):
    random = np.random.default_rng(seed)
    y = random.integers(2, size=rows)
    radius, angle = 1 + 1.5 * y + 0.3 * random.normal(size=rows), random.uniform(0, 7, rows)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), np.array(["i", "o"])[
        y
    ]


@pytest.mark.slow
def test_a_whole_training_finds_the_noise():
    x, y, mean, std = bent(4000, 1)
    model = BayesianNetRegressor(max_steps=1000, random_state=0).fit(*bent(900, 0)[:2])
    found, spread = model.predict(x, return_std=True)
    assert np.sqrt(np.mean((found - mean) ** 2)) < 0.8
    assert np.corrcoef(spread, std)[0, 1] > 0.85
    assert spread.mean() == pytest.approx(std.mean(), rel=0.15)
    assert np.mean(norm(found, spread).logpdf(y)) > np.mean(norm(mean, std).logpdf(y)) - 0.1


@pytest.mark.slow
def test_classes_that_no_line_tells_apart(tmp_path):
    x, y = rings(1000, 1)
    model = BayesianNetClassifier(max_steps=300, random_state=0).fit(*rings(700, 0))
    assert model.n_steps_ > 0
    assert model.score(x, y) > 0.95
    v = model.start_.whiten(model.inputs_.to_line(x[:50]))
    values = model.temper_ * np.log(softmax(nets.outputs(model.net_, v, model.seed_), 2).mean(0))
    np.testing.assert_allclose(
        model.predict_proba(x[:50]), np.exp(values - logsumexp(values, 1)[:, None]), atol=1e-9
    )
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


def test_a_saved_model_is_the_same_to_the_bit_in_another_process(curved, tmp_path):
    x, folder = bent(300, 2)[0], curved.save(tmp_path / "model")
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np, pullback as pb; model = pb.tasks.load(sys.argv[1]);"
        "np.save(sys.argv[3], model.predict_quantiles(np.load(sys.argv[2])))"
    )
    names = [str(folder), str(tmp_path / "x.npy"), str(tmp_path / "found.npy")]
    subprocess.run([sys.executable, "-c", script, *names], check=True)
    # That process is in single precision, as a user's is, and this one is not.
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), curved.predict_quantiles(x))
    again = load(folder)
    assert again.get_params() == {**curved.get_params(), "progress": None}
    assert (again.notes_, again.report_) == (curved.notes_, curved.report_)
    again.save(tmp_path / "again")
    for file in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()


def test_a_table_with_a_column_of_numbers(tmp_path):
    x, y = straight(80, 0)
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=y, same=1.0)
    frame.loc[3, "y"], frame.loc[5, "b"] = np.nan, np.nan
    frame["patient_id"] = [f"p{k}" for k in range(80)]
    frame.to_csv(tmp_path / "t.csv", index=False)
    model = BayesianNetRegressor(label="y", random_state=0).fit(tmp_path / "t.csv")
    assert model.columns_ == ("a", "b", "c")
    assert model.id_column_ == "patient_id"
    said = " ".join(model.notes_)
    assert "1 of 80 rows have no number to learn, and were left out" in said
    assert "1 of 79 rows have holes (b in 1), which were filled" in said
    beside = BayesianNetRegressor(random_state=0).fit(frame.drop(columns="y"), frame["y"])
    found = model.predict(tmp_path / "t.csv")
    np.testing.assert_array_equal(beside.predict(frame.drop(columns="y")), found)
    assert np.isfinite(found).all()
    text = write_report(model, tmp_path / "t.csv", tmp_path).read_text()
    assert "<title>t.csv: y</title>" in text
    assert "Predicted beside true" in text
    few = BayesianNetRegressor().fit(x[:3], y[:3])
    assert few.report_ is None
    assert np.isfinite(few.predict_interval(x)).all()


@pytest.mark.parametrize(
    ("settings", "y", "message"),
    [
        (
            {"method": "hmc"},
            [0.0, 1.0],
            "`method` must be one of 'sde-bnn', 'noisy-kfac',.* got",
        ),
        ({"max_steps": -1}, [0.0, 1.0], "`max_steps` must be 0 or more"),
        ({}, ["a", "b"], "must be numbers.*pullback fit classes"),
        ({}, [1.0, np.nan], "two or more rows with a number; 1 has one"),
        ({}, [1.0, np.inf], "`y` has an infinity in row 2"),
    ],
)
def test_what_does_not_fit_is_refused(settings, y, message):
    with pytest.raises(ValueError, match=message):
        BayesianNetRegressor(**settings).fit([[0.0], [1.0]], y)


def test_levels_that_are_none_are_refused(curved):
    with pytest.raises(ValueError, match=r"`levels` must lie between 0 and 1, got \[0.5, 1\]"):
        curved.predict_quantiles([[0.0, 0.0]], (0.5, 1))
    with pytest.raises(ValueError, match="`level` must lie between 0 and 1, got 90"):
        curved.predict_interval([[0.0, 0.0]], 90)
