"""Fit a number on one file and predict another, with bands: from the command alone."""

import csv
import io

import numpy as np
import pytest

from pullback import cli, tasks

pytestmark = pytest.mark.usefixtures("workplace")


def write(path, rows, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 2))
    y = 5 * x[:, 0] + random.normal(size=rows)
    numbers = enumerate(np.column_stack([x, y]).tolist())
    lines = [f"r{k},{a!r},{c!r},{b!r}" for k, (a, b, c) in numbers]
    path.write_text("\n".join(["name,a,yield,b", *lines]) + "\n")
    return y


def test_fit_predict_and_refuse(tmp_path, capsys):
    write(tmp_path / "my.csv", 60)
    argv = ["fit", "regression", "my.csv", "--label", "yield", "--out", "m", "--no-progress"]
    assert cli.main(argv) == 0
    card = capsys.readouterr().out
    assert "BayesianNetRegressor('sde-bnn') of yield of my.csv: 60 rows, no training step" in card
    assert "<title>my.csv: yield</title>" in (tmp_path / "m" / "report.html").read_text()
    y = write(tmp_path / "new.csv", 400, seed=1)
    known = tasks.load(tmp_path / "m")
    for level in (0.9, 0.5):
        assert cli.main(["predict", "m", "new.csv", "--out", "-", "--level", str(level)]) == 0
        found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert list(found[0]) == ["name", "row", "mean", "lower", "upper"]
        numbers = np.array([[float(row[k]) for k in ("mean", "lower", "upper")] for row in found])
        np.testing.assert_array_equal(numbers[:, 0], known.predict(tmp_path / "new.csv"))
        np.testing.assert_array_equal(
            numbers[:, 1:], known.predict_interval(tmp_path / "new.csv", level)
        )
        share = ((numbers[:, 1] <= y) & (y <= numbers[:, 2])).mean()
        assert share == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 50))
    assert cli.main(["predict", "m", "new.csv", "--out", "-", "--level", "90"]) == 2
    assert "--level must lie between 0 and 1, got 90" in capsys.readouterr().err
    assert cli.main([*argv[:4], "name", *argv[5:]]) == 2
    assert "must be numbers" in capsys.readouterr().err


def test_classes_by_a_bayesian_network(tmp_path, capsys):
    y = write(tmp_path / "my.csv", 60)
    lines = (tmp_path / "my.csv").read_text().splitlines()
    kinds = [
        f"{line},{'up' if value > 0 else 'down'}" for line, value in zip(lines[1:], y, strict=True)
    ]
    (tmp_path / "my.csv").write_text("\n".join([lines[0] + ",kind", *kinds]) + "\n")
    argv = ["fit", "classes", "my.csv", "--label", "kind", "--method", "sde-bnn", "--out", "m"]
    assert cli.main([*argv, "--columns", "a", "b", "--no-progress", "--no-report"]) == 0
    assert "BayesianNetClassifier('sde-bnn') of my.csv: 60 rows, 60 with" in capsys.readouterr().out
    assert cli.main(["predict", "m", "my.csv", "--out", "-"]) == 0
    assert capsys.readouterr().out.startswith("name,row,p_down,p_up,predicted\n")
