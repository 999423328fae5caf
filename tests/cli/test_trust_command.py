"""Wrong labels of a file, from the command alone."""

import csv
import io

import numpy as np
import pytest

from pullback import tasks

pytestmark = pytest.mark.usefixtures("workplace")


def write(path, rows, seed=0, flips=()):
    """Rows of two classes, some of which have the label of the other."""
    random = np.random.default_rng(seed)
    kind = random.integers(2, size=rows)
    x = random.normal(size=(rows, 2)) + 6 * kind[:, None]
    given = kind.copy()
    given[list(flips)] = 1 - given[list(flips)]
    lines = ["name,a,kind,b"]
    for k, ((a, b), name) in enumerate(zip(x.tolist(), given, strict=True)):
        lines.append(f"r{k},{a!r},{('low', 'high')[name]},{b!r}")
    path.write_text("\n".join(lines) + "\n")
    return [("low", "high")[k] for k in kind]


def test_suspects_are_written_beside_the_model_and_new_rows_predicted(pullback, tmp_path):
    right = write(tmp_path / "my.csv", 50, flips=(3, 11, 40))
    write(tmp_path / "sure.csv", 20, seed=1)
    argv = "fit trust my.csv --label kind --clean sure.csv --out m --no-progress".split()
    status, out, _ = pullback(*argv)
    assert status == 0
    assert "RowTrust of my.csv: 50 rows, 50 with a label, 20 clean ones" in out
    assert "3 of 50 labels are probably wrong; the worst are rows" in out
    assert "head -n 11 m/suspects.csv" in out
    assert "pullback predict m FILE --out predictions.csv" in out
    assert out.startswith(pullback("show", "m")[1])
    found = list(csv.DictReader(io.StringIO((tmp_path / "m" / "suspects.csv").read_text())))
    assert list(found[0]) == ["name", "row", "given", "probable", "weight"]
    assert {row["name"] for row in found} == {"r3", "r11", "r40"}
    for row in found:
        place = int(row["name"][1:])
        assert (int(row["row"]), row["probable"]) == (place + 2, right[place])
        assert row["given"] != row["probable"]
        assert 0 < float(row["weight"]) < 0.5
    page = (tmp_path / "m" / "report.html").read_text()
    assert "<title>my.csv: labels</title>" in page
    assert '<a href="suspects.csv">' in page
    new = write(tmp_path / "new.csv", 40, seed=2)
    assert pullback("predict", "m", "new.csv", "--out", "p.csv")[0] == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    assert list(rows[0]) == ["name", "row", "p_high", "p_low", "predicted"]
    assert [row["predicted"] for row in rows] == new
    probs = [[float(row["p_high"]), float(row["p_low"])] for row in rows]
    np.testing.assert_array_equal(probs, tasks.load("m").predict_proba("new.csv"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--label sort", "there is no column 'sort'; --label is one of"),
        ("--label kind --clean none.csv", "cannot be read"),
        ("--label kind --clean odd.csv", "of class 'mid', and the table has 'high', 'low'"),
        ("--label kind --clean less.csv", "there is no column 'kind'"),
        ("--label kind --max-steps -1", "--max-steps must be 0 or more, got -1"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(argv, message, pullback, tmp_path):
    write(tmp_path / "my.csv", 20)
    (tmp_path / "odd.csv").write_text("a,b,kind\n1,2,mid\n2,1,low\n")
    (tmp_path / "less.csv").write_text("a,b\n1,2\n2,1\n")
    status, out, err = pullback(*f"fit trust my.csv --out m --no-progress {argv}".split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
