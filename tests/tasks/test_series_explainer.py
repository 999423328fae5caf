"""Which measurement moved a prediction: black boxes, models in steps, and bad input."""

import csv

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pullback.data import DataError, irregular_series
from pullback.tasks import SeriesExplainer, explain_file, load, model_of_file
from pullback.tasks._series_rows import read_series
from pullback.tasks._series_steps import on_steps, usual_step

WEIGHTS = np.array([0.2, 1.5, 0.0])
NAMES = ("heart", "breath", "skin")


def series(count=24, length=7, seed=0):
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        values = random.normal(size=(length, 3)).cumsum(axis=0)
        mask = random.random((length, 3)) < 0.8
        mask[0] = True
        found.append((np.arange(length) * 2.0 + 6, values, mask))
    return irregular_series(found, variables=NAMES, time_unit="h")


def last_known(prefixes):
    """The last value of each variable that was observed."""
    seen = ~np.isnan(prefixes)
    place = prefixes.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)
    return np.take_along_axis(prefixes, place[:, None], axis=1)[:, 0]


def risk(prefixes):
    p = 1 / (1 + np.exp(-last_known(prefixes) @ WEIGHTS))
    return np.stack([1 - p, p], axis=1)


class InSteps:
    """The same in JAX, with what was last known carried on."""

    def start(self):
        import jax.numpy as jnp

        return jnp.zeros(3)

    def step(self, state, x):
        import jax.numpy as jnp

        state = jnp.where(jnp.isnan(x), state, x)
        return state, jnp.stack([0.0 * state[0], state @ jnp.asarray(WEIGHTS, state.dtype)])


@pytest.fixture(scope="module")
def fitted():
    import jax

    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        return SeriesExplainer(risk, max_steps=60, samples=8, random_state=0).fit(series())


def test_what_the_model_does_not_read_has_no_score(fitted, x32):
    found = fitted.explain(series(3, seed=1))
    score = np.where(found.observed, found.score, np.nan)
    mean = np.nanmean(np.abs(score[:, 1:]), axis=(0, 1))
    assert mean[1] > 3 * mean[2]
    # Each observed value has a score, and nothing else.
    np.testing.assert_array_equal(np.isnan(found.score), ~found.observed)
    shift = found.temporal_shift[..., None] - found.unexplained
    np.testing.assert_allclose(shift[found.observed], found.score[found.observed], atol=1e-5)
    np.testing.assert_allclose(found.prediction, [
        [risk(values[None, : t + 1])[0] for t in range(7)] for values in found.values
    ], atol=1e-6)  # fmt: skip
    assert found.evaluations > 3 * 7 * 8


def test_a_model_in_steps_and_one_of_scikit_learn_give_what_a_function_gives(fitted, x32):
    given = series(2, seed=1)
    wanted = fitted.explain(given)
    rows = np.random.default_rng(0).normal(size=(20, 3))
    model = LogisticRegression().fit(rows, np.arange(20) % 2)
    model.coef_, model.intercept_ = WEIGHTS[None], np.zeros(1)
    told = []
    for other in (InSteps(), lambda prefixes: model.predict_proba(last_known(prefixes))):
        fitted.model = other
        try:
            told.append(fitted.explain(given))
        finally:
            fitted.model = risk
    for found in told:
        np.testing.assert_allclose(found.score, wanted.score, atol=1e-4)
        np.testing.assert_allclose(found.prediction, wanted.prediction, atol=1e-5)


def test_an_explainer_is_kept_without_its_model_and_asks_another(fitted, x32, tmp_path):
    fitted.save(tmp_path / "why")
    given = series(1, seed=2)
    kept = load(tmp_path / "why", model=risk)
    assert kept.variables_ == NAMES
    np.testing.assert_array_equal(kept.explain(given).score, fitted.explain(given).score)
    with pytest.raises(ValueError, match=r"`model` is missing"):
        load(tmp_path / "why").explain(given)
    assert "generator gives values of 4 held-out series" in " ".join(kept.notes_)


def test_at_a_first_time_nothing_was_said_before(fitted, x32):
    found = fitted.explain(series(2, seed=3))
    row, time = np.array([0, 0, 1]), np.array([0, 3, 0])
    moved = found.moved(row, time)
    likeliest = found.prediction.argmax(axis=2)
    assert moved[0] == likeliest[0, 0]
    assert moved[2] == likeliest[1, 0]
    top = found.top()
    first = np.array(top["time"]) == 6.0
    assert first.any()
    np.testing.assert_array_equal(np.isnan(top["before"]), first)
    assert np.isfinite(top["after"]).all()


def test_what_is_written_is_what_was_found(fitted, x32, tmp_path):
    given = series(2, seed=3)
    files = explain_file(fitted, given, tmp_path / "why")
    named = {str(file.relative_to(tmp_path / "why")) for file in files}
    assert named == {"importance.csv", "top.csv", "heatmaps/0.png", "heatmaps/1.png", "report.html"}
    with (tmp_path / "why" / "importance.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = fitted.explain(given)
    assert len(rows) == found.observed.sum()
    assert [*rows[0]] == ["series", "time", "variable", "value", "score", "standard_error",
                          "unexplained", "temporal_shift"]  # fmt: skip
    np.testing.assert_allclose([float(row["score"]) for row in rows], found.score[found.observed])
    assert (rows[0]["time"], rows[0]["variable"]) == ("6.0", "heart")
    with (tmp_path / "why" / "top.csv").open() as file:
        top = list(csv.DictReader(file))
    assert [row["rank"] for row in top] == [str(k + 1) for _ in range(2) for k in range(10)]
    first = [float(row["score"]) for row in top[:10]]
    assert first == sorted(first, reverse=True)
    assert first[0] == pytest.approx(np.nanmax(found.score[0]))
    assert (tmp_path / "why" / "heatmaps" / "0.png").read_bytes()[1:4] == b"PNG"
    assert "What moved the prediction" in (tmp_path / "why" / "report.html").read_text()


def test_series_are_put_on_steps_from_their_own_beginning():
    given = read_series(
        irregular_series(
            [([7.8, 8.0, 8.9, 12.1], [1.0, 2.0, 3.0, 4.0]), ([100.0], [5.0])], variables=["a"]
        ),
        {},
    )
    found = on_steps(given, 1.0, ("b", "a"))
    np.testing.assert_array_equal(found.times[:, 0], [7, 100])
    np.testing.assert_array_equal(found.values[0, :, 1], [1, 3, np.nan, np.nan, np.nan, 4])
    assert np.isnan(found.values[:, :, 0]).all()
    assert (found.lengths.tolist(), found.lost) == ([6, 1], 1)
    assert usual_step(given.series) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="none of the variables c is in what is given"):
        on_steps(given, 1.0, ("c",))


BAD = """
import numpy as np
count = 0

def fixed(x):
    return risk(x.reshape(len(x), 7, 3))

def risk(x):
    p = np.nan_to_num(x).mean(axis=(1, 2)) / 100 + 0.5
    return np.stack([1 - p, p], axis=1)

def twice(x):
    return 2 * risk(x)

def nan(x):
    return risk(x) + np.nan

def every(x):
    return np.stack([risk(x)] * x.shape[1], axis=1)

def drawn(x):
    p = risk(x) * np.random.default_rng().uniform(0.5, 1, (len(x), 1))
    return p / p.sum(axis=1, keepdims=True) * [0.9, 1] + [0.1, 0] * p[:, :1]
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fixed", r"bad.py, line 5: the model takes series of 7 steps, and fails on the first one "
                  r"alone .*x = np.pad\(x, \(\(0, 0\), \(0, 7 - x.shape\[1\]\), \(0, 0\)\)"),
        ("twice", r"bad.py, line 12: .* sums to 2 and not to 1"),
        ("nan", r"bad.py, line 15: the model gave \[nan, nan\] for 8 of 8 prefixes"),
        ("every", r"bad.py, line 18: .*return the last, \[:, -1\]"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_explained_name_the_file_the_line_and_the_remedy(
    name, told, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(BAD)
    with pytest.raises(DataError, match=told):
        SeriesExplainer(model_of_file(f"bad.py:{name}"), max_steps=1).fit(series(8))


def test_a_model_that_changes_its_answer_is_said(x32):
    random = np.random.default_rng(0)

    def drawn(prefixes):
        p = random.uniform(size=len(prefixes))
        return np.stack([p, 1 - p], axis=1)

    explainer = SeriesExplainer(drawn, max_steps=1, samples=2, random_state=0).fit(series(8))
    assert any("changes its answer from call to call, by up to" in n for n in explainer.notes_)
    explainer.explain(series(1))  # without a warning


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "classes"}, "`kind` must be one of categorical, multilabel, gaussian"),
        ({"outputs": "odds"}, "`outputs` must be 'probabilities' or 'logits', got 'odds'"),
        ({"step": 0}, "`step` must be a finite number above 0"),
        ({"step": "1"}, "`step` must be a finite number above 0, got '1'"),
        ({"variables": "heart"}, "`variables` must be a list of names, each of them once"),
        ({"variables": ["heart", "heart"]}, "`variables` must be a list of names, each of them"),
        ({"samples": 1}, "`samples` must be 2 or more"),
        ({"max_steps": 0}, "`max_steps` must be 1 or more"),
        ({"variables": ["heart", "mood"]}, "has no value of 'mood'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        SeriesExplainer(risk, **settings).fit(series(8))


def test_what_is_no_predictor_is_refused():
    with pytest.raises(TypeError, match="must be a function of prefixes"):
        SeriesExplainer(LogisticRegression(), max_steps=1).fit(series(8))


def test_a_variable_by_another_name_is_told():
    small = series(count=4, length=3)
    known = lambda prefixes: risk(np.nan_to_num(prefixes))
    explainer = SeriesExplainer(known, max_steps=2, random_state=0, progress=False).fit(small)
    other = small._replace(variables=("heart", "Breath", "skin"))
    with pytest.warns(UserWarning, match="no value of 'breath', and has 'Breath'"):
        found = explainer.explain(other)
    assert np.isnan(found.score[:, :, 1]).all()
    explainer.set_params(variables=3)
    with pytest.raises(ValueError, match="`variables` must be a list of names"):
        explainer.fit(small)
