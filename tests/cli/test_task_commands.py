"""Fit on one file, score another, draw new rows: from the command alone."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pullback import tasks

pytestmark = pytest.mark.usefixtures("workplace")


def write(path, rows, seed=0):
    x = np.random.default_rng(seed).normal(size=(rows, 2)) * [1, 10]
    lines = ["name,a,b", *(f"r{k},{a!r},{b!r}" for k, (a, b) in enumerate(x.tolist()))]
    path.write_text("\n".join(lines) + "\n")
    return x


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def model(tmp_path, pullback):
    write(tmp_path / "my.csv", 60)
    argv = ("fit", "density", "my.csv", "--out", "m", "--no-progress", "--no-report")
    status, out, _ = pullback(*argv)
    assert status == 0
    return out


def test_fit_score_and_show(model, pullback, tmp_path):
    assert "FlowDensity('residual-flow') of my.csv: 60 rows" in model
    assert "rows are named by: name" in model
    assert "pullback score m FILE --out scores.csv" in model
    assert pullback("show", "m") == (0, model, "")
    x = pd.DataFrame(write(tmp_path / "new.csv", 500, seed=1), columns=["a", "b"])
    status, out, _ = pullback("score", "m", "new.csv", "--out", "scores.csv")
    assert (status, out) == (0, "500 rows scored: scores.csv\n")
    found = rows_of((tmp_path / "scores.csv").read_text())
    assert list(found[0]) == ["name", "row", "log_density", "share_below", "predicted"]
    assert [row["name"] for row in found] == [f"r{k}" for k in range(500)]
    assert [int(row["row"]) for row in found] == list(range(2, 502))
    known = tasks.load(tmp_path / "m")
    scores = known.score_samples(x)
    np.testing.assert_array_equal([float(row["log_density"]) for row in found], scores)
    np.testing.assert_array_equal([int(row["predicted"]) for row in found], known.predict(x))
    shares = [float(row["share_below"]) for row in found]
    np.testing.assert_array_equal(shares, known.share_below(scores))


def test_parquet_and_streams_say_the_same(model, pullback, tmp_path, monkeypatch):
    write(tmp_path / "new.csv", 30, seed=1)
    pullback("score", "m", "new.csv", "--out", "s.parquet")
    stdin = io.TextIOWrapper(io.BytesIO((tmp_path / "new.csv").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    status, out, _ = pullback("score", "m", "-", "--out", "-")
    assert status == 0
    table = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert [{k: str(v) for k, v in row.items()} for row in table] == rows_of(out)


def test_a_row_with_a_hole_has_empty_cells(model, pullback, tmp_path):
    (tmp_path / "new.csv").write_text("b,a,name\n1,,x\n,2,y\n3,0.5,z\n")
    status, out, _ = pullback("score", "m", "new.csv", "--out", "-")
    assert status == 0
    assert [row["log_density"] == row["predicted"] == "" for row in rows_of(out)] == [1, 1, 0]


def test_draws_are_rows_of_the_table(model, pullback, tmp_path):
    status, out, _ = pullback("sample", "m", "-n", "7", "--out", "-", "--seed", "3")
    assert status == 0
    found = [[float(row["a"]), float(row["b"])] for row in rows_of(out)]
    wanted = tasks.load(tmp_path / "m").sample(7, random_state=3)
    np.testing.assert_array_equal(found, wanted)
    assert pullback("sample", "m", "-n", "7", "--out", "-", "--seed", "4")[1] != out


def test_columns_and_ids_can_be_named(pullback, tmp_path):
    write(tmp_path / "my.csv", 60)
    argv = ("fit", "density", "my.csv", "--out", "m", "--columns", "b", "--id", "a")
    status, out, _ = pullback(*argv, "--no-progress")
    assert status == 0
    assert "columns: b\n" in out
    assert out.endswith("report: m/report.html\n")
    assert "<title>my.csv: density</title>" in (tmp_path / "m" / "report.html").read_text()
    card = json.loads((tmp_path / "m" / "model.json").read_text())
    assert card["fitted"]["id_column_"] == "a"
    status, out, _ = pullback("score", "m", "my.csv", "--out", "-")
    assert out.startswith("a,row,log_density")


def test_names_of_rows_in_a_column_that_is_called_row_are_kept(pullback, tmp_path):
    lines = [
        f"{3 * k},{a!r}" for k, a in enumerate(np.random.default_rng(0).normal(size=40).tolist())
    ]
    (tmp_path / "my.csv").write_text("\n".join(["row,a", *lines]) + "\n")
    argv = ("fit", "density", "my.csv", "--out", "m", "--no-progress", "--no-report")
    assert "rows are named by: row" in pullback(*argv)[1]
    found = rows_of(pullback("score", "m", "my.csv", "--out", "-")[1])
    assert list(found[0]) == ["row", "log_density", "share_below", "predicted"]
    assert [row["row"] for row in found] == [str(3 * k) for k in range(40)]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit images my.csv --out m", "no task 'images'"),
        ("fit density none.csv --out m", "cannot be read"),
        ("fit density my.csv --out m --columns a name", "'name' has 60 cells that are no numbers"),
        ("fit density my.csv --out m --columns a c", "no column 'c'"),
        ("fit density my.csv --out m --id c", "no column 'c'"),
        ("fit density my.csv --out m --contamination 0.9", "--contamination must be above 0"),
        ("fit density my.csv --out my.csv", "is a file; name a folder with --out"),
        ("score my.csv my.csv --out s.csv", "holds no saved model"),
        ("score nowhere my.csv --out s.csv", "holds no saved model"),
        ("score m my.csv --out s.txt", "--out must end in .csv or .parquet"),
        ("show nowhere", "holds no saved model"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(argv, message, pullback, tmp_path):
    write(tmp_path / "my.csv", 60)
    status, out, err = pullback(*argv.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("pullback: ")
    assert err.count("\n") == 1


def test_a_table_that_does_not_parse_is_refused_before_jax_is_imported(tmp_path):
    (tmp_path / "my.csv").write_text("a,b\n1,2\n1,x\n3,4\n")
    script = (
        "import sys; from pullback import cli\n"
        "status = cli.main(['fit', 'density', 'my.csv', '--out', 'm'])\n"
        "print(status, 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "2 False\n"
    assert "line 3: expected a number in column 'b'; got 'x'" in done.stderr


def test_a_file_that_lacks_a_column_of_the_model_leaves_the_old_scores(model, pullback, tmp_path):
    (tmp_path / "scores.csv").write_text("old")
    (tmp_path / "new.csv").write_text("a,c\n1,2\n")
    status, _, err = pullback("score", "m", "new.csv", "--out", "scores.csv")
    assert status == 2
    assert "no column 'b'" in err
    (tmp_path / "new.csv").write_text("a,b\n1,2\n1,x\n")
    assert pullback("score", "m", "new.csv", "--out", "scores.csv")[0] == 2
    assert (tmp_path / "scores.csv").read_text() == "old"


def test_a_file_where_the_task_belongs_is_told_the_whole_command(pullback, tmp_path):
    write(tmp_path / "my.csv", 5)
    status, _, error = pullback("fit", "my.csv")
    assert status == 2
    assert error.strip().endswith("Try: pullback fit density my.csv --out MODEL")
