"""Series on equal steps, and what a model is given of them: to the bit, and as its own."""

import numpy as np
import pandas as pd
import pytest

from pullback.data import irregular_series
from pullback.tasks import SeriesExplainer, SeriesModel
from pullback.tasks._series_predictor import of_series_model
from pullback.tasks._series_rows import as_given, read_series
from pullback.tasks._series_steps import on_steps, usual_step


def steps_of(given, step=None):
    table = read_series(given, {})
    return on_steps(table, usual_step(table.series) if step is None else step, ("a", "b"))


def numbers(times):
    """Series of two variables whose k-th value is k and k + 100."""
    k = np.arange(len(times), dtype=float)
    return irregular_series(
        [(np.asarray(times), np.stack([k, k + 100], axis=1))], variables=["a", "b"]
    )


def check_each_in_its_own_step(found, count):
    assert found.lost == 0
    assert found.lengths.tolist() == [count]
    k = np.arange(count)
    np.testing.assert_array_equal(found.values[0], np.stack([k, k + 100], axis=1))


@pytest.mark.parametrize("start", [50.1, 1000.3, 0.0, 7.7e5])
@pytest.mark.parametrize("step", [0.1, None])
def test_every_value_is_in_its_own_step_whatever_the_rounding_of_times(start, step):
    times = np.round(start + 0.1 * np.arange(40), 1)
    found = steps_of(numbers(times), step)
    check_each_in_its_own_step(found, 40)
    np.testing.assert_array_equal(found.times[0], times)


@pytest.mark.parametrize("step", [1 / 12, None])
def test_dates_come_back_as_they_were_written(step):
    dates = pd.date_range("2024-01-01 08:00", periods=30, freq="5min")
    table = pd.DataFrame([
        ("x", date, name, k + 100.0 * (name == "b"))
        for k, date in enumerate(dates) for name in ("a", "b")
    ], columns=["series", "time", "variable", "value"])  # fmt: skip
    found = steps_of(table, step)
    check_each_in_its_own_step(found, 30)
    told = pd.DatetimeIndex(as_given(found.times[0], found.time_unit))
    assert (told == dates).all()


def test_a_series_does_not_depend_on_those_beside():
    rows = [(0.1 * np.arange(5), np.arange(10.0).reshape(5, 2)),
            (np.round(1000.3 + 0.1 * np.arange(12), 1), np.ones((12, 2)))]  # fmt: skip
    both = steps_of(irregular_series(rows, variables=["a", "b"]), 0.1)
    for place, row in enumerate(rows):
        alone = steps_of(irregular_series([row], variables=["a", "b"]), 0.1)
        np.testing.assert_array_equal(both.of_one(place), alone.of_one(0))
        np.testing.assert_array_equal(both.times[place, : len(alone.times[0])], alone.times[0])


def test_the_usual_step_is_no_simpler_than_the_times_say():
    of = lambda *times: usual_step(irregular_series([(np.array(times), np.arange(len(times)))]))
    assert of(0.0, 0.3333, 0.6666) == 0.3333
    assert of(0.0, np.pi) == np.pi
    assert of(5.0) == 1.0


def test_a_short_series_is_asked_of_its_own_rows_alone(x32):
    rows = [(np.arange(n), np.arange(2.0 * n).reshape(n, 2)) for n in (3, 9, 5)]
    asked = []

    def strict(x):
        assert not np.isnan(x[:, -1]).all(axis=1).any()
        asked.append(len(x))
        p = 1 / (2 + x[:, -1, 0])
        return np.stack([p, 1 - p], axis=1)

    given = irregular_series(rows, variables=["a", "b"])
    explainer = SeriesExplainer(strict, max_steps=1, samples=2, random_state=0).fit(given)
    found = explainer.explain(given)
    assert max(asked) > 1
    for place, (times, values) in enumerate(rows):
        count = len(times)
        np.testing.assert_allclose(found.prediction[place, :count, 0], 1 / (2 + values[:, 0]))
        assert np.isnan(found.prediction[place, count:]).all()
    assert found.lengths.tolist() == [3, 9, 5]


def test_a_model_in_steps_is_not_asked_of_rows_behind_the_end(x32):
    import jax.numpy as jnp

    class Strict:
        def start(self):
            return jnp.zeros(())

        def step(self, state, x):  # NaN where nothing was measured
            return state, jnp.stack([x[0], -x[0]])

    rows = [(np.arange(n), np.arange(2.0 * n).reshape(n, 2) / 9) for n in (3, 6)]
    given = irregular_series(rows, variables=["a", "b"])
    explainer = SeriesExplainer(Strict(), max_steps=1, samples=2, random_state=0).fit(given)
    alone = explainer.explain(given.take(np.array([0])).compact())
    both = explainer.explain(given)
    np.testing.assert_allclose(both.score[0, :3], alone.score[0], atol=1e-6)
    assert np.isnan(both.prediction[0, 3:]).all()


def test_a_model_that_fills_in_what_it_is_given_invents_no_measurement(x32):
    rows = np.random.default_rng(0)
    values, mask = rows.normal(size=(4, 6, 2)), rows.random((4, 6, 2)) < 0.7
    mask[:, 0] = mask[:, -1] = True
    given = irregular_series(
        [(np.arange(6.0), v, m) for v, m in zip(values, mask, strict=True)], variables=["a", "b"]
    )

    def soft(x):
        p = 1 / (1 + np.exp(-np.nan_to_num(x)[:, -1, 0]))
        return np.stack([p, 1 - p], axis=1)

    def fills(x):
        x[np.isnan(x)] = 0.0
        return soft(x)

    found = []
    for model in (soft, fills):
        explainer = SeriesExplainer(model, max_steps=3, samples=2, random_state=0).fit(given)
        found.append(explainer.explain(given))
    assert found[1].observed.sum() == mask.sum()
    np.testing.assert_array_equal(found[1].score, found[0].score)


def test_scores_are_of_the_numbers_that_the_prediction_is_of(x32):
    """7.35 in float32 is not below 7.35 in float64, and more than it here: 7.3499999."""
    limit = np.float64(7.35)
    assert np.float32(limit) < limit

    def low(x):
        p = np.where(x[:, -1, 0] < limit, 0.9, 0.1)
        return np.stack([1 - p, p], axis=1)

    values = np.full((6, 2), 7.6)
    values[3, 0] = limit
    values[:, 1] = np.arange(6)
    given = irregular_series([(np.arange(6.0), values)] * 3, variables=["a", "b"])
    explainer = SeriesExplainer(low, max_steps=1, samples=8, random_state=0).fit(given)
    found = explainer.explain(given)
    assert (found.prediction[:, :, 1] == 0.1).all()
    # Of the values as they are, what the model says of all that was measured is what it says here.
    asked = []
    explainer.model = lambda x: asked.append(x.copy()) or low(x)
    explainer.explain(given)
    for x in asked:
        assert x.dtype == np.float64
        past = values[: x.shape[1] - 1]
        assert (x[:, :-1] == past).all()
    assert any((x[:, -1, 0] == limit).sum() > 1 for x in asked if x.shape[1] == 4)


class OfSeries(SeriesModel):
    """As much of a `SeriesModel` as is asked: its outcome is of what `b` says alone."""

    variables_, units_, time_unit_ = ("a", "b"), ("kPa", "kg"), "h"

    def predict_proba(self, given):
        place = given.variables.index("b") if "b" in given.variables else None
        assert given.units == tuple({"a": "kPa", "b": "kg"}[name] for name in given.variables)
        last = 0.0 if place is None else given.values[:, -1, place]
        p = 1 / (1 + np.exp(-last * np.ones(len(given.ids))))
        return np.stack([1 - p, p], axis=1)


def test_a_model_of_series_knows_variables_by_their_names():
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    of = lambda *variables: of_series_model(OfSeries(), 1.0, variables)
    np.testing.assert_array_equal(of("b", "a")(x[..., ::-1]), of("a", "b")(x))
    np.testing.assert_array_equal(of("a")(x[..., :1]), 0.5)
    with pytest.raises(ValueError, match=r"`variables` has 'c', which the model of series does"):
        of("a", "c")
