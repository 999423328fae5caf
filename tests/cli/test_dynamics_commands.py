"""A field from a file, and its paths to a file: from the command alone."""

import csv
import io
import subprocess
import sys

import numpy as np
import pytest

from pullback import tasks

pytestmark = pytest.mark.usefixtures("workplace")


def write(path):
    """Thirty-two rows of a circle in another order, under headers of the user's own."""
    ts = np.linspace(0, 6, 32)
    table = np.stack([ts, np.cos(ts), -np.sin(ts)], axis=1)
    lines = [f"{t!r},{x!r},{v!r},A7,ok" for t, x, v in table.tolist()]
    path.write_text("\n".join(["h,x,v,run,remark", *lines[::-1]]) + "\n")


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_field_from_a_file_and_paths_from_starts(pullback, tmp_path):
    write(tmp_path / "my.csv")
    status, told, _ = pullback(
        "fit", "dynamics", "my.csv", "--time", "h", "--columns", "x,v", "--series", "run",
        "--out", "m",
    )  # fmt: skip
    assert status == 0
    assert "DynamicsModel of my.csv: 32 rows, 1 trajectory" in told
    assert "carried on by" in told
    assert (tmp_path / "m" / "report.html").exists()
    command = next(line for line in told.splitlines() if "simulate m --start" in line).split()
    assert pullback(*command[1:])[0] == 0
    assert len(rows_of((tmp_path / "paths.csv").read_text())) == 2 * 101

    status, told, _ = pullback(
        "simulate", "m", "--start", "x=0,v=1", "--until", "3", "--every", "1.5", "--out", "-"
    )
    rows = rows_of(told)
    assert list(rows[0]) == ["h", "variable", "mean", "lower", "upper"]
    assert [(row["h"], row["variable"]) for row in rows[2:4]] == [("1.5", "x"), ("1.5", "v")]
    found = np.asarray([float(row["mean"]) for row in rows]).reshape(3, 2)
    at = np.asarray([0, 1.5, 3])
    np.testing.assert_allclose(found, np.stack([np.sin(at), np.cos(at)], axis=1), atol=0.01)

    (tmp_path / "starts.csv").write_text("run,v,x\nB,1,0\nC,0,1\n")
    status, told, _ = pullback(
        "simulate", "m", "starts.csv", "--until", "1", "--from", "-1", "--every", "0.75",
        "--level", "0.5", "--out", "paths.csv",
    )  # fmt: skip
    assert (status, told) == (0, "2 paths of 4 times: paths.csv\n")
    rows = rows_of((tmp_path / "paths.csv").read_text())
    assert [row["h"] for row in rows[:8:2]] == ["-1.0", "-0.25", "0.5", "1.0"]
    assert [(row["run"], row["row"]) for row in rows[::8]] == [("B", "2"), ("C", "3")]
    model = tasks.load("m")
    wanted = model.simulate([[0, 1], [1, 0]], [-1, -0.25, 0.5, 1], level=0.5)
    upper = np.asarray([float(row["upper"]) for row in rows]).reshape(2, 4, 2)
    np.testing.assert_array_equal(upper, wanted.upper)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --start A=1,B=2 or a file of starts"),
        (["--start", "x=1"], "--start must have the states x, v; missing: v"),
        (["--start", "x=1,v=2,w=3"], "unknown: w"),
        (["--start", "x=1,v"], "--start must be like a=1,b=2; 'v' is not"),
        (["--start", "x=1,v=2", "--every", "0"], "--every above 0"),
        (["--start", "x=1,v=2", "--level", "1"], "--level must be between 0 and 1"),
        (["holes.csv"], "'v' of row 3 of holes.csv is empty"),
    ],
)
def test_what_cannot_be_simulated_is_said_in_a_line(pullback, tmp_path, saved, words, message):
    (tmp_path / "holes.csv").write_text("x,v\n1,2\n1,\n")
    status, _, error = pullback("simulate", saved, *words, "--until", "3", "--out", "-")
    assert status == 2
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = tasks.DynamicsModel(columns=["x", "v"], random_state=0)
    folder = tmp_path_factory.mktemp("model")
    write(folder / "my.csv")
    return model.set_params(time="h", series="run").fit(folder / "my.csv").save(folder / "m")


def test_a_table_that_does_not_parse_is_refused_before_jax(tmp_path):
    (tmp_path / "bad.csv").write_text("t,a\n0,1\n1,x\n2,3\n")
    code = (
        "import sys; from pullback import cli;"
        "print(cli.main(['fit', 'dynamics', 'bad.csv', '--time', 't', '--columns', 'a', '--out',"
        "'m']), 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "2 False\n"
    assert "bad.csv" in done.stderr
