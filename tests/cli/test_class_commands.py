"""Fit classes on one file and predict another: from the command alone."""

import csv
import io
import subprocess
import sys

import numpy as np
import pytest

from pullback import tasks

pytestmark = pytest.mark.usefixtures("workplace")


def write(path, rows, seed=0):
    """Rows of two classes, of which a third is known."""
    random = np.random.default_rng(seed)
    kind = random.integers(2, size=rows)
    x = random.normal(size=(rows, 2)) * [1, 10] + 3 * kind[:, None]
    lines = ["name,a,kind,b"]
    for k, ((a, b), name) in enumerate(zip(x.tolist(), kind, strict=True)):
        lines.append(f"r{k},{a!r},{'' if k % 3 else ('low', 'high')[name]},{b!r}")
    path.write_text("\n".join(lines) + "\n")
    return x, kind


@pytest.fixture
def model(tmp_path, pullback):
    write(tmp_path / "my.csv", 60)
    argv = ("fit", "classes", "my.csv", "--label", "kind", "--out", "m", "--no-progress")
    status, out, _ = pullback(*argv)
    assert status == 0
    return out


def test_fit_show_and_predict(model, pullback, tmp_path):
    assert "EnergyClassifier('jem') of my.csv: 60 rows, 20 with a class" in model
    assert "classes: high, low" in model
    assert "pullback predict m FILE --out predictions.csv" in model
    assert model.startswith(pullback("show", "m")[1])
    assert "<title>my.csv: classes</title>" in (tmp_path / "m" / "report.html").read_text()
    _, kind = write(tmp_path / "new.csv", 300, seed=1)
    status, out, _ = pullback("predict", "m", "new.csv", "--out", "p.csv")
    assert (status, out) == (0, "300 rows predicted: p.csv\n")
    found = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    head = ["name", "row", "log_density", "share_below", "p_high", "p_low", "predicted"]
    assert list(found[0]) == head
    assert [row["name"] for row in found] == [f"r{k}" for k in range(300)]
    right = [row["predicted"] == ("low", "high")[k] for row, k in zip(found, kind, strict=True)]
    assert np.mean(right) > 0.85
    known = tasks.load(tmp_path / "m")
    probs = [[float(row["p_high"]), float(row["p_low"])] for row in found]
    np.testing.assert_array_equal(probs, known.predict_proba(tmp_path / "new.csv"))
    scores = [float(row["log_density"]) for row in found]
    np.testing.assert_array_equal(scores, known.score_samples(tmp_path / "new.csv"))


def test_another_process_predicts_the_same_to_the_bit(model, pullback, tmp_path):
    write(tmp_path / "new.csv", 500, seed=1)
    _, out, _ = pullback("predict", "m", "new.csv", "--out", "-")
    argv = ["predict", "m", "new.csv", "--out", "-"]
    script = f"from pullback import cli; cli.main({argv!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == out
    assert out.count("\n") == 501


def test_a_row_with_a_hole_is_predicted_all_the_same(model, pullback, tmp_path):
    (tmp_path / "new.csv").write_text("b,a,name\n1,,x\n,2,y\n3,0.5,z\n")
    status, out, _ = pullback("predict", "m", "new.csv", "--out", "-")
    assert status == 0
    assert all(row["predicted"] for row in csv.DictReader(io.StringIO(out)))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit classes my.csv --label sort --out m", "there is no column 'sort'; --label is one of"),
        ("fit classes my.csv --label kind --out m --columns a name", "that are no numbers"),
        ("fit classes my.csv --label kind --out m --columns a kind", "cannot be one of --columns"),
        ("fit classes my.csv --label name --out m --id none", "no column 'none'"),
        ("score m my.csv --out s.csv", "try `pullback predict`"),
        ("predict m none.csv --out s.csv", "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(argv, message, pullback, tmp_path):
    x, kind = write(tmp_path / "my.csv", 60)
    tasks.EnergyClassifier(random_state=0).fit(x, kind).save("m")
    status, out, err = pullback(*argv.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("pullback: ")
    assert err.count("\n") == 1
