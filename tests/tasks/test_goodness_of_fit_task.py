"""A right model is rejected as often as the level says, a wrong one nearly always."""

import numpy as np
import pandas as pd
import pytest

from pullback.tasks import DynamicsModel, FlowDensity, goodness_of_fit, write_result


def table(rows, seed):
    return np.random.default_rng(seed).normal(size=(rows, 2)) @ [[1.0, 0.5], [0.0, 20.0]] + [3, 100]


@pytest.fixture(scope="module")
def density():
    return FlowDensity(max_steps=0, random_state=0).fit(table(300, 0))


def share_rejected(tables, *model):
    found = [goodness_of_fit(x, *model, random_state=k) for k, x in enumerate(tables)]
    return np.mean([each.rejected for each in found]), np.asarray([f.p_value for f in found])


def test_gaussian_rows_are_rejected_as_often_as_the_level_says():
    rejected, p_values = share_rejected([table(150, k) for k in range(12)])
    assert abs(rejected - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 12)
    assert abs(p_values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 12)


def test_a_skewed_column_is_rejected_and_found():
    rows = [table(150, k) for k in range(5)]
    for x in rows:
        x[:, 0] = np.exp(x[:, 0] / 2)
    found = [goodness_of_fit(x, random_state=k) for k, x in enumerate(rows)]
    assert np.mean([each.rejected for each in found]) >= 0.8
    assert np.mean([each.columns[0].name == "x1" for each in found]) >= 0.8
    assert "does not fit the array: p = " in found[0].notes[0]


def test_a_planted_shift_of_one_column_is_found(density, tmp_path):
    fresh = table(300, 1)
    assert not goodness_of_fit(fresh, density, random_state=0).rejected
    folder = density.save(tmp_path / "m")
    shifted = pd.DataFrame(fresh + np.array([0, 15]), columns=["x1", "x2"])
    found = goodness_of_fit(shifted.to_numpy(), folder, random_state=0)
    assert found.rejected
    assert found.columns[0].name == "x2"
    assert found.columns[0].mean[0] - found.columns[0].mean[1] == pytest.approx(15, abs=3)
    text = write_result(found, tmp_path).read_text()
    assert "the array: test of fit" in text
    assert text.count("data:image/png;base64,") == 1
    again = goodness_of_fit(shifted.to_numpy(), density, random_state=0)
    assert (again.statistic, again.p_value) == (found.statistic, found.p_value)


def test_rows_with_holes_and_columns_that_are_none_are_left_out():
    x = table(152, 0)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "twice": 2 * x[:, 0], "kind": "t"})
    frame.loc[[2, 5], "a"] = np.nan
    found = goodness_of_fit(frame, random_state=0)
    assert {each.name for each in found.columns} == {"a", "b"}
    assert found.rows == 150
    said = str(found)
    assert "2 of 152 rows have holes" in said
    assert "twice (it follows from the columns before it)" in said


def test_rows_that_the_model_knows_are_said_to_be_so(density):
    assert "that the model was fitted to" in str(goodness_of_fit(table(300, 0), density))


@pytest.mark.slow
def test_a_model_that_is_right_is_rejected_as_often_as_the_level_says(density):
    rejected, _ = share_rejected([density.sample(200, random_state=k) for k in range(80)], density)
    assert abs(rejected - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 80)
    rejected, _ = share_rejected([table(200, k) for k in range(80)])
    assert abs(rejected - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 80)


@pytest.mark.slow
def test_a_trained_flow_is_tested_through_its_map():
    """Rows on a bent line: the flow fits them, and not those that are bent the other way."""
    random = np.random.default_rng(0)
    bent = lambda sign: np.stack([a := random.normal(size=1500), sign * a**2
                                  + 0.3 * random.normal(size=1500)], axis=1)  # fmt: skip
    density = FlowDensity(random_state=0).fit(bent(1))
    assert goodness_of_fit(bent(1), density, random_state=0).p_value > 1e-3
    assert goodness_of_fit(bent(-1), density, random_state=0).rejected


def test_what_does_not_fit_is_refused(density):
    for x, settings, message in (
        (table(90, 0), {}, "expected 100 rows or more without holes"),
        (table(100, 0), {"level": 0}, "`level` must be between 0 and 1, got 0"),
        (table(100, 0), {"model": DynamicsModel()}, "got a DynamicsModel"),
        (table(100, 0), {"model": density, "columns": [0]}, "`columns` are those of the model"),
        (np.ones((100, 2)), {}, "no column that varies"),
    ):
        with pytest.raises(ValueError, match=message):
            goodness_of_fit(x, **settings)
