"""A GAN of a file, from the command alone: fitted, drawn from, scored by and shown."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from pullback import tasks
from pullback.analysis.samples import _two_sample_auroc

pytestmark = pytest.mark.usefixtures("workplace")


def write(path, rows, seed=0):
    random = np.random.RandomState(seed)
    frame = pd.DataFrame(
        {
            "name": [f"r{k}" for k in range(rows)],
            "a": random.normal(size=rows),
            "kind": random.choice(["x", "y"], rows),
            "n": random.poisson(2, rows),
        }
    )
    frame.to_csv(path, index=False)
    return frame


@pytest.fixture
def model(tmp_path, pullback, monkeypatch):
    monkeypatch.setattr(_two_sample_auroc, "_TREES", 10)
    write(tmp_path / "my.csv", 60)
    status, out, err = pullback("fit", "gan", "my.csv", "--out", "m", "--no-progress")
    assert (status, err) == (0, "")
    return out


def test_fit_sample_score_and_show(model, pullback, tmp_path):
    assert "TableGAN of my.csv: 60 rows, no training step" in model
    assert "rows are named by: name" in model
    assert "Columns of kinds: kind (2)." in model
    assert model.endswith("report: m/report.html\n")
    assert "<title>my.csv: a GAN</title>" in (tmp_path / "m" / "report.html").read_text()
    assert pullback("show", "m") == (0, model[: model.index("report: ")], "")
    status, out, _ = pullback("sample", "m", "-n", "40", "--out", "drawn.csv", "--seed", "3")
    assert (status, out) == (0, "40 rows drawn: drawn.csv\n")
    drawn, known = pd.read_csv(tmp_path / "drawn.csv"), tasks.load(tmp_path / "m")
    assert list(drawn) == ["a", "kind", "n"]
    np.testing.assert_array_equal(drawn, known.sample(40, random_state=3))
    new = write(tmp_path / "new.csv", 30, seed=1)
    new.loc[4, "kind"], new.loc[9, "kind"] = None, "z"
    new.to_csv(tmp_path / "new.csv", index=False)
    assert pullback("score", "m", "new.csv", "--out", "s.csv")[:2] == (
        0, "30 rows scored: s.csv\n"
    )  # fmt: skip
    found = list(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text())))
    assert list(found[0]) == ["name", "row", "score", "share_below", "predicted"]
    assert found[4]["score"] == found[4]["predicted"] == ""
    assert (found[9]["score"], found[9]["predicted"]) == ("-inf", "-1")
    whole = np.delete(np.arange(30), 4)
    scores = known.score_samples(tmp_path / "new.csv")
    np.testing.assert_array_equal([float(found[k]["score"]) for k in whole], scores[whole])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit gan my.csv --out m --max-steps -1", "--max-steps must be 0 or more, got -1"),
        ("fit gan my.csv --out m --contamination 0.7", "--contamination must be above 0"),
        ("fit gan my.csv --out m --columns a c", "no column 'c'"),
        ("fit gan my.csv --out m --columns a name", "'name' of my.csv is text of 60 kinds"),
        ("fit gan my.csv --out m --columns zz", "the columns are name, a, kind, n"),
        ("fit gan my.csv --out m --columns a n --id zz", "the columns are a, n, name, kind"),
        ("fit gan my.csv --out m --columns a a", "--columns has 'a' more than once"),
        ("fit gan my.csv --out m --columns a n --id a", "'a' is in --columns, and only names"),
        ("sample m -n 0 --out s.csv", "-n must be 1 or more, got 0"),
        ("predict m my.csv --out p.csv", "try `pullback score`"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(argv, message, model, pullback):
    status, out, err = pullback(*argv.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_columns_of_kinds_may_be_named(model, pullback):
    argv = ("fit", "gan", "my.csv", "--out", "k", "--columns", "kind", "n", "--no-report")
    status, out, _ = pullback(*argv, "--no-progress", "--max-steps", "0")
    assert status == 0
    assert "columns: kind, n\n" in out
    assert pullback("sample", "k", "-n", "2", "--out", "-")[1].startswith("kind,n\n")


def test_whole_numbers_are_written_so_and_codes_are_text(pullback, tmp_path, monkeypatch):
    monkeypatch.setattr(_two_sample_auroc, "_TREES", 10)
    codes = [f"0{k % 3}" if k % 4 else "1A" for k in range(60)]
    write(tmp_path / "my.csv", 60).assign(code=codes).to_csv(tmp_path / "my.csv", index=False)
    argv = ("fit", "gan", "my.csv", "--out", "c", "--no-report", "--max-steps", "0")
    assert pullback(*argv, "--no-progress")[::2] == (0, "")
    out = pullback("sample", "c", "-n", "40", "--out", "-")[1]
    drawn = pd.read_csv(io.StringIO(out), dtype=str)
    assert set(drawn["code"]) == {"00", "01", "02", "1A"}
    assert drawn["n"].str.fullmatch(r"\d+").all()
    assert drawn["a"].str.contains(".", regex=False).all()
