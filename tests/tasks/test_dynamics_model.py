"""Fields of known systems: the right matrix, the right paths, and the same whatever the table."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from sklearn.base import clone

from pullback.data import irregular_series
from pullback.tasks import DynamicsModel, ModelError, load, write_report

A = np.array([[-0.1, 2.0], [-2.0, -0.1]])


def linear(times, start=(1.0, 0.5)):
    return np.stack([expm(A * t) @ np.asarray(start) for t in times])


def times(count, end, seed=0):
    return np.sort(np.random.default_rng(seed).uniform(0, end, count))


def matrix(model, at=(0.0, 0.0)):
    """The field's slopes by central differences."""
    steps = 0.1 * np.eye(2)
    at = np.asarray(at)
    rise = model.field(0.0, at + steps) - model.field(0.0, at - steps)
    return rise.T / 0.2


@pytest.fixture(scope="module")
def exact():
    ts = times(80, 8)
    return DynamicsModel(max_steps=0, random_state=0).fit(ts, linear(ts))


@pytest.fixture(scope="module")
def noisy():
    """Eighty noisy rows of each of two trajectories, and the model that training made of them."""
    random = np.random.default_rng(0)
    parts = []
    for name, start in (("p", (1.0, 0.5)), ("q", (-0.4, 1.2))):
        ts = times(80, 12, seed=len(parts))
        ys = linear(ts, start) + 0.05 * random.normal(size=(80, 2))
        parts.append(pd.DataFrame({"t": ts, "a": ys[:, 0], "b": ys[:, 1], "run": name}))
    frame = pd.concat(parts, ignore_index=True)
    return DynamicsModel(max_steps=300, random_state=0).fit(frame), frame


def test_a_linear_system_is_found_by_regression(exact):
    assert exact.kind_ == "linear"
    assert exact.n_steps_ == 0
    np.testing.assert_allclose(matrix(exact), A, atol=2e-3)
    ts = np.linspace(3, 13, 201)
    found = exact.simulate([0.3, -1.0], ts)
    np.testing.assert_allclose(found.mean, linear(ts - 3, (0.3, -1.0)), atol=5e-3)
    back = exact.simulate(found.mean[-1], ts[::-1])
    np.testing.assert_allclose(back.mean[-1], [0.3, -1.0], atol=5e-3)
    assert exact.report_["model"]["error"] < 1e-3
    assert exact.report_["carried on"]["error"] > 0.3
    assert exact.report_["linear system (scikit-learn)"]["behind"] > 0


def test_a_few_uneven_times_are_enough_for_it():
    ts = times(30, 10)
    model = DynamicsModel(random_state=0).fit(ts, linear(ts))
    assert model.kind_ == "linear"
    np.testing.assert_allclose(matrix(model), A, atol=0.01)


def test_training_finds_it_in_noise(noisy):
    model, frame = noisy
    start = DynamicsModel(max_steps=0, random_state=0).fit(frame)
    assert model.n_steps_ > 0
    np.testing.assert_allclose(matrix(model), A, atol=0.1)
    off = lambda model: abs(np.linalg.eigvals(matrix(model)).max() - np.linalg.eigvals(A).max())
    assert off(model) < 0.02
    assert off(model) < off(start)
    assert np.abs(np.asarray(model.noise_) - 0.05).max() < 0.015
    ts = np.linspace(0, 6, 40)
    found, true = model.simulate([1.0, 0.0], ts), linear(ts, (1.0, 0.0))
    assert np.abs(found.mean - true).max() < 0.1
    assert ((found.lower <= true) & (true <= found.upper)).mean() > 0.9
    assert "Bands of 90 % held" in model.notes_[-1]
    assert "behind by" in model.notes_[-2]


def test_bands_are_those_of_their_level(noisy):
    model, _ = noisy
    ts = np.linspace(0, 3, 5)
    width = [np.ptp([s.lower, s.upper], axis=0) for level in (0.5, 0.9)
             for s in [model.simulate({"b": 0.0, "a": 1.0}, ts, level=level)]]  # fmt: skip
    assert (width[0][0] == 0).all()
    assert (width[0][1:] < width[1][1:]).all()
    several = model.simulate([[1.0, 0.0], [0.0, 1.0]], ts)
    assert several.mean.shape == (2, 5, 2)
    np.testing.assert_array_equal(several.mean[0], model.simulate([1.0, 0.0], ts).mean)


def test_a_predator_and_its_prey_go_on_as_they_do():
    """A period of Lotka and Volterra's is 6.5; ten are forecast from a fit to three."""
    field = lambda t, y: [y[0] - 0.5 * y[0] * y[1], 0.3 * y[0] * y[1] - y[1]]
    solved = lambda ts, y0: solve_ivp(field, (ts[0], ts[-1]), y0, t_eval=ts, rtol=1e-10, atol=1e-10)
    ts = times(200, 20, seed=3)
    model = DynamicsModel(max_steps=0, random_state=0).fit(ts, solved(ts, [1.0, 1.0]).y.T)
    assert model.kind_ == "quadratic"
    on = np.linspace(0, 65, 300)
    true = solved(on, [4.0, 1.5]).y.T
    error = (model.simulate([4.0, 1.5], on).mean - true) / true.std(axis=0)
    assert np.sqrt((error**2).mean()) < 0.02
    y = np.array([[2.0, 3.0], [5.0, 1.0]])
    np.testing.assert_allclose(
        model.field(0.0, y), np.stack([field(0, each) for each in y]), atol=0.01
    )


def test_units_are_only_units(exact):
    ts = times(80, 8)
    scaled = DynamicsModel(max_steps=0, random_state=0).fit(60 * ts + 1e6, 1000 * linear(ts))
    np.testing.assert_allclose(matrix(scaled) * 60, matrix(exact), rtol=1e-3, atol=1e-3)
    on = np.linspace(0, 4, 9)
    found = scaled.simulate([300.0, -1000.0], 60 * on + 1e6)
    one = exact.simulate([0.3, -1.0], on)
    for part, other in zip(found[1:], one[1:], strict=True):
        np.testing.assert_allclose(part, 1000 * other, atol=1)


def test_every_table_of_the_same_trajectories_is_the_same(tmp_path):
    ts = times(40, 8)
    ys = np.stack([linear(ts), linear(ts, (0.0, 1.0))])
    model = DynamicsModel(max_steps=0, random_state=0)
    wanted = clone(model).fit([ts, ts], [*ys]).field(0.0, np.eye(2))
    wide = pd.DataFrame(
        {
            "series": np.repeat(["1", "2"], 40), "time": np.tile(ts, 2),
            "x1": ys[:, :, 0].ravel(), "x2": ys[:, :, 1].ravel(), "note": "n",
        }
    )  # fmt: skip
    long = wide.melt(["series", "time"], ["x1", "x2"])
    wide.iloc[::-1].to_csv(tmp_path / "wide.csv", index=False)
    long.to_parquet(tmp_path / "long.parquet")
    series = irregular_series([(ts, each, np.ones_like(each, bool)) for each in ys])
    twice = pd.concat([wide, wide[::3]])
    given = (wide, tmp_path / "wide.csv", long, tmp_path / "long.parquet", series, twice)
    found = model
    for each in given:
        found = clone(model).fit(each)
        np.testing.assert_allclose(found.field(0.0, np.eye(2)), wanted, rtol=1e-5, atol=1e-5)
    assert "54 values repeat the time" in found.notes_[0] + found.notes_[1]
    assert any("note (text)" in note for note in found.notes_)
    same = clone(model).fit(ts, ys).field(0.0, np.eye(2))
    np.testing.assert_array_equal(same, wanted)
    one = clone(model).fit(np.column_stack([ts, ys[0]]))
    np.testing.assert_array_equal(
        one.field(0.0, [1.0, 1.0]), clone(model).fit(ts, ys[0]).field(0.0, [1.0, 1.0])
    )


def test_cells_that_were_not_measured_are_left_out():
    ts = times(90, 8)
    ys = linear(ts)
    ys[::5, 0], ys[1::7, 1], ys[40] = np.nan, np.nan, np.nan
    model = DynamicsModel(max_steps=0, random_state=0).fit(ts, ys)
    np.testing.assert_allclose(matrix(model), A, atol=0.02)
    assert "4 of 90 rows have no state" in model.notes_[0]


def test_few_times_are_served_and_fewer_refused():
    model = DynamicsModel(random_state=0).fit([0.0, 1.0, 2.0], [[1.0], [2.0], [3.0]])
    np.testing.assert_allclose(model.simulate([3.0], [2.0, 4.0]).mean[:, 0], [3, 5], atol=0.01)
    assert "nothing says how good" in model.notes_[-1]
    assert model.report_ is None
    with pytest.raises(ValueError, match="expected a trajectory of three times or more"):
        DynamicsModel().fit([0.0, 1.0], [[1.0], [2.0]])
    with pytest.raises(ValueError, match="expected a trajectory of three times or more"):
        DynamicsModel().fit([0.0, 0.0, 1.0], [[1.0], [1.0], [2.0]])


def push(t, y, args):
    """A force on the second state, which changes with time."""
    return jnp.stack([jnp.zeros_like(t), 3 * jnp.sin(2 * t)])


def test_what_is_known_is_not_learned_again_and_not_saved(tmp_path):
    ts = times(120, 10)
    solved = solve_ivp(
        lambda t, y: A @ y + [0, 3 * np.sin(2 * t)], (0, 10), [1, 0], t_eval=ts, rtol=1e-9
    )
    model = DynamicsModel(known=push, max_steps=0, random_state=0).fit(ts, solved.y.T)
    assert model.kind_ == "linear"
    learned = model.field(0.0, np.eye(2)) - np.stack([push(jnp.asarray(0.0), None, None)] * 2)
    np.testing.assert_allclose(learned.T - model.field(0.0, [0.0, 0.0])[:, None], A, atol=0.02)
    np.testing.assert_allclose(
        model.field(1.0, [0.0, 0.0])[1] - model.field(0.0, [0.0, 0.0])[1], 3 * np.sin(2), rtol=1e-4
    )
    on = np.linspace(0, 9, 30)
    true = solve_ivp(
        lambda t, y: A @ y + [0, 3 * np.sin(2 * t)], (0, 9), [1, 0], t_eval=on, rtol=1e-9
    )
    np.testing.assert_allclose(model.simulate([1, 0], on).mean, true.y.T, atol=0.05)
    folder = model.save(tmp_path / "m")
    assert model.known is push
    with pytest.raises(ModelError, match=r"not saved: hand it over, `load\(folder, known="):
        load(folder)
    with pytest.raises(ModelError, match="is another function"):
        load(folder, known=lambda t, y, args: 1.01 * push(t, y, args))
    again = load(folder, known=push)
    on = np.linspace(0, 5, 9)
    for one, other in zip(again.simulate([1, 0], on), model.simulate([1, 0], on), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"of shape \[2\]; it gave shape \[\]"):
        DynamicsModel(known=lambda t, y, args: t).fit(ts, solved.y.T)


def test_a_saved_model_simulates_to_the_bit_in_another_process(noisy, tmp_path):
    model, frame = noisy
    folder = model.save(tmp_path / "m")
    script = (
        "import sys, numpy as np, pullback as pb; model = pb.tasks.load(sys.argv[1]);"
        "np.save(sys.argv[2], np.stack(model.simulate([1.0, 0.5], np.linspace(0, 9, 30))[1:]))"
    )
    names = [str(folder), str(tmp_path / "paths.npy")]
    subprocess.run([sys.executable, "-c", script, *names], check=True)
    found = model.simulate([1.0, 0.5], np.linspace(0, 9, 30))
    np.testing.assert_array_equal(np.load(tmp_path / "paths.npy"), np.stack(found[1:]))
    again = load(folder)
    assert again.get_params() == model.get_params()
    for name in DynamicsModel._found:
        assert getattr(again, name) == getattr(model, name), name
    with pytest.raises(ModelError, match="fitted without a known part"):
        load(folder, known=push)
    text = write_report(again, frame, folder).read_text()
    assert "the DataFrame: dynamics" in text
    assert text.count("data:image/png;base64,") == 2
    assert "carried on" in text


@pytest.mark.parametrize(
    ("settings", "table", "message"),
    [
        ({}, {"a": [1, 2, 3]}, "no column of the DataFrame is called t or time"),
        ({"time": "s"}, {"a": [1, 2, 3]}, "no column 's' for the time; it has a"),
        ({}, {"t": ["x", "y", "z"], "a": [1, 2, 3]}, "column 't' of the DataFrame is text"),
        ({}, {"t": ["2024-01-01", "2024-01-02", "2024-01-03"], "a": [1, 2, 3]}, "is dates"),
        ({"columns": ["b"]}, {"t": [1, 2, 3], "a": [1, 2, 3]}, "names 'b', which is no state"),
        ({}, {"t": [1, 2, 3], "a": [1, np.inf, 3]}, "column 'a' has an infinity in row 2"),
        ({}, {"t": [1, 2, 3]}, "no column of numbers beside its times"),
        ({"max_steps": -1}, {"t": [1, 2, 3], "a": [1, 2, 3]}, "`max_steps` must be 0 or more"),
    ],
)
def test_tables_and_settings_that_do_not_fit_are_refused(settings, table, message):
    with pytest.raises(ValueError, match=message):
        DynamicsModel(**settings).fit(pd.DataFrame(table))


def test_starts_and_times_that_do_not_fit_are_refused(exact):
    for start, ts, message in (
        ([1.0], [0, 1], r"a state has 2 numbers \(x1, x2\)"),
        ({"x1": 1.0}, [0, 1], "missing: x2"),
        ([1.0, np.nan], [0, 1], "x2 of state 1 is nan"),
        ([1.0, 0.0], [0, 2, 1], "all rising or all falling"),
        ([1.0, 0.0], [], "one or more finite times"),
    ):
        with pytest.raises(ValueError, match=message):
            exact.simulate(start, ts)
    with pytest.raises(ValueError, match="`level` must be between 0 and 1, got 1"):
        exact.simulate([1.0, 0.0], [0, 1], level=1)


@pytest.mark.slow
def test_bands_cover_what_they_say():
    """Of twenty noisy sets of trajectories, on fresh ones."""
    inside = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        ts = [times(40, 6, seed=100 * seed + k) for k in range(20)]
        ys = [linear(t, random.normal(size=2)) + 0.05 * random.normal(size=(40, 2)) for t in ts]
        model = DynamicsModel(max_steps=0, random_state=0).fit(ts[:14], ys[:14])
        for t, y in zip(ts[14:], ys[14:], strict=True):
            found = model.simulate(y[0], t)
            inside.append(((found.lower <= y) & (y <= found.upper))[1:].mean())
    sets = np.asarray(inside).reshape(20, 6).mean(axis=1)
    assert abs(sets.mean() - 0.9) < 4 * sets.std(ddof=1) / np.sqrt(20) + 0.03


@pytest.mark.slow
def test_a_net_learns_what_no_polynomial_says():
    """A pendulum that swings far, from many starts: the net gains on paths held out."""
    field = lambda t, y: [y[1], -4 * np.sin(y[0])]
    random = np.random.default_rng(0)
    ts = np.linspace(0, 6, 60)
    ys = [
        solve_ivp(field, (0, 6), [random.uniform(-2.9, 2.9), 0.0], t_eval=ts, rtol=1e-8).y.T
        for _ in range(24)
    ]
    model = DynamicsModel(random_state=0).fit([ts] * 24, ys)
    assert model.kind_ == "cubic and a net"
    assert model.report_["model"]["error"] < 0.5 * model.report_["cubic polynomial (scikit-learn)"][
        "error"
    ]  # fmt: skip
