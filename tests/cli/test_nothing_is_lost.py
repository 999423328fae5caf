"""Rows, names of rows and reports that were lost, and mistakes that ended in a traceback."""

import csv
import io

import numpy as np
import pytest

from pullback import data
from pullback.tasks import DynamicsModel, FlowDensity, SeriesModel

pytestmark = pytest.mark.usefixtures("workplace")


def table(names="key,a,b", rows=40):
    x = np.random.default_rng(0).normal(size=(rows, 2)).round(4)
    return "\n".join([names, *(f"k{n},{a},{b}" for n, (a, b) in enumerate(x))]) + "\n"


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("text", "rows"),
    [("a,b\n1,2\n,\n\n3,4\n", [2, 3, 5]), ('a\n1\n""\n2\n\n', [2, 3, 4])],
)
def test_a_row_with_nothing_in_its_cells_is_a_row(text, rows, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    found = data.read_mixed(tmp_path / "t.csv")
    assert found.rows.tolist() == rows
    assert np.isnan(found.columns[0]).tolist() == [False, True, False]


def test_whole_numbers_that_a_float_cannot_tell_apart_name_the_rows(tmp_path):
    lines = [f"{2**53 + k},{0.5 * k}" for k in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["serial,a", *lines]) + "\n")
    model = FlowDensity(random_state=0).fit(tmp_path / "t.csv")
    assert (model.id_column_, model.columns_) == ("serial", ("a",))


def test_names_of_rows_in_a_column_with_the_name_of_an_output_are_kept(pullback, tmp_path):
    (tmp_path / "my.csv").write_text(table("log_density,a,b"))
    fit = ("fit", "density", "my.csv", "--out", "m", "--id", "log_density", "--no-progress")
    assert pullback(*fit)[0] == 0
    assert (tmp_path / "m" / "report.html").exists()
    found = rows_of(pullback("score", "m", "my.csv", "--out", "-")[1])
    assert [row["given_log_density"] for row in found] == [f"k{n}" for n in range(40)]
    assert all(np.isfinite(float(row["log_density"])) for row in found)
    # The report of the model that was here before is of that one.
    assert pullback(*fit, "--no-report")[0] == 0
    assert not (tmp_path / "m" / "report.html").exists()


def test_a_name_with_dollar_signs_is_no_formula(pullback, tmp_path):
    (tmp_path / "my.csv").write_text(table(r"key,a,$\frac{1$"))
    status, _, err = pullback("fit", "density", "my.csv", "--out", "m", "--no-progress")
    assert (status, err) == (0, "")
    assert r"$\frac{1$" in (tmp_path / "m" / "report.html").read_text()


def test_mistakes_are_told_in_a_line(pullback, tmp_path):
    (tmp_path / "my.csv").write_text(table())
    fit = ("--out", "m", "--no-progress", "--no-report")
    assert pullback("fit", "regression", "my.csv", "--label", "b", *fit)[0] == 0
    for words, message in (
        (("fit", "classes", "my.csv", "--label", "b", *fit), "pullback fit regression"),
        (("sample", "m", "--out", "-"), "a BayesianNetRegressor is asked in another way"),
        (("fit", "density", "my.csv", "--seed", "-1", *fit), "--seed must be 0 or more"),
        (("sample", "m", "--out", "-", "--seed", str(2**32)), "below 2^32, got 4294967296"),
    ):
        status, _, err = pullback(*words)
        assert status == 2
        assert message in err
        assert err.count("\n") == 1


def test_trajectories_that_are_taken_for_one_are_said_to_be(tmp_path):
    times = np.arange(12.0)
    lines = [f"{t},{np.exp(-t / 9 - k)},{k + 1}" for k in range(3) for t in times + k / 5]
    (tmp_path / "t.csv").write_text("\n".join(["t,x,animal no", *lines]) + "\n")
    model = DynamicsModel(max_steps=0, columns=["x"], random_state=0).fit(tmp_path / "t.csv")
    assert "The times go back 2 times" in " ".join(model.notes_)
    named = DynamicsModel(max_steps=0, columns=["x"], series="animal no", random_state=0)
    assert "go back" not in " ".join(named.fit(tmp_path / "t.csv").notes_)
    with pytest.raises(ValueError, match="names 'x' twice"):
        DynamicsModel(max_steps=0, columns=["x", "x"]).fit(tmp_path / "t.csv")


def test_a_forecast_without_end_is_refused_and_one_of_some_series_is_said_to_be(tmp_path):
    random = np.random.default_rng(0)
    rows = [(k, t + k, 70 + random.normal()) for k in range(12) for t in range(8)]
    lines = ["series,time,variable,value", *(f"{k},{t},pulse,{x}" for k, t, x in rows)]
    (tmp_path / "long.csv").write_text("\n".join(lines) + "\n")
    model = SeriesModel(max_steps=0, random_state=0).fit(tmp_path / "long.csv")
    for until in (np.inf, np.nan, 1e12):
        with pytest.raises(ValueError, match="no more than 1,000,000 are told at once"):
            model.forecast(tmp_path / "long.csv", until=until, every=1.0)
    with pytest.warns(UserWarning, match="5 of 12 series have a value at `until` or after it"):
        found = model.forecast(tmp_path / "long.csv", until=14, every=1.0)
    assert sorted(set(found.series.tolist())) == list(range(7))
