"""Fit series, fill in, continue: from the command alone."""

import contextlib
import csv
import io
import os
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pullback import cli, tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a fitted model, and what the command said of it."""
    folder = tmp_path_factory.mktemp("series")
    write(folder / "my.csv", 20, 0)
    outcome = [f"p{k},{'died' if k % 2 else 'lived'}" for k in range(20)]
    (folder / "o.csv").write_text("\n".join(["patient,end", *outcome]) + "\n")
    argv = "fit series my.csv --out m --no-progress --max-steps 0 --outcome o.csv"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.chdir(folder)
        patch.setattr("os.environ", os.environ.copy())
        assert cli.main(argv.split()) == 0
    (folder / "said").write_text(out.getvalue())
    return folder


@pytest.fixture(autouse=True)
def in_the_folder(workplace, folder, monkeypatch):
    monkeypatch.chdir(folder)


def write(path, patients, seed, first=0):
    random = np.random.default_rng(seed)
    lines = ["patient,time [h],parameter,value"]
    for patient in range(first, first + patients):
        level = random.normal()
        for t in np.unique(random.uniform(0, 9, 10).round(2)):
            lines.append(f"p{patient},{t},HR [1/min],{70 + 5 * level + random.normal():.2f}")
    path.write_text("\n".join(lines) + "\n")


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_fit_show_impute_and_forecast(pullback, folder, monkeypatch):
    model = (folder / "said").read_text()
    assert "SeriesModel('latent-ode') of my.csv: 20 series, no training step" in model
    assert "pullback forecast m FILE --until TIME --out forecast.csv" in model
    assert model.endswith("report: m/report.html\n")
    assert pullback("show", "m")[1] + "report: m/report.html\n" == model
    write(folder / "new.csv", 3, 1, first=50)
    status, out, _ = pullback("forecast", "m", "new.csv", "--until", "12", "--every", "1",
                              "--level", "0.8", "--out", "f.parquet")  # fmt: skip
    assert status == 0
    found = pq.read_table(folder / "f.parquet").to_pandas()
    wanted = tasks.load(folder / "m").forecast(folder / "new.csv", until=12, every=1, level=0.8)
    pd.testing.assert_frame_equal(found, wanted.to_frame())
    assert out == f"{len(found)} rows: f.parquet\n"
    assert list(found) == ["patient", "time [h]", "parameter", "part", "mean", "lower", "upper"]
    # A row without a value asks; streams say the same as files.
    text = (folder / "new.csv").read_text() + "p50,20,HR [1/min],\n"
    (folder / "asks.csv").write_text(text)
    assert pullback("impute", "m", "asks.csv", "--out", "i.csv")[0] == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    status, out, _ = pullback("impute", "m", "-", "--out", "-")
    assert out == (folder / "i.csv").read_text()
    (asked,) = [row for row in rows_of(out) if row["part"] == "imputed"]
    assert (asked["patient"], float(asked["time [h]"])) == ("p50", 20)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit series none.csv --out m2", "none.csv"),
        ("fit series o.csv --out m2", "no column has a usual name for the time"),
        ("fit series my.csv --out m2 --time hour", "there is no column 'hour'"),
        ("fit series my.csv --out m2 --max-steps -1", "--max-steps must be 0 or more"),
        ("fit series my.csv --out m2 --outcome none.csv", "none.csv"),
        ("impute m my.csv --out i.txt", "--out must end in .csv or .parquet"),
        ("impute m my.csv --out i.csv --level 1", "--level must be above 0 and below 1, got 1"),
        ("forecast m my.csv --until 1 --out f.csv", "no series ends before --until, 1"),
        ("forecast m my.csv --until soon --out f.csv", "'soon' is none"),
        ("forecast m my.csv --until 9 --every 0 --out f.csv", "--every must be above 0"),
        ("impute nowhere my.csv --out i.csv", "holds no saved model"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(argv, message, pullback):
    status, out, err = pullback(*argv.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("pullback: ")
    assert err.count("\n") == 1


def test_a_model_of_a_table_is_none_of_series(pullback, folder):
    x = np.random.default_rng(0).normal(size=(30, 2))
    tasks.FlowDensity(random_state=0).fit(x).save(folder / "d")
    status, _, err = pullback("impute", "d", "my.csv", "--out", "i.csv")
    assert status == 2
    assert "d holds a FlowDensity; this is for models of series" in err
