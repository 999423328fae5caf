"""The flags that say how a file is read, where it does not say so itself."""

import numpy as np
import pandas as pd
import pytest

from pullback import data, tasks

pytestmark = pytest.mark.usefixtures("workplace")


def years(path, sign=".", between=","):
    """A table with a column for each of two years."""
    x = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    rows = [between.join(f"{cell:.3f}".replace(".", sign) for cell in row) for row in x]
    path.write_text("\n".join([between.join(["2019", "2020"]), *rows]) + "\n")
    return x


def series(path, patients, first=0):
    lines = ["patient,time,parameter,value"]
    for patient in range(first, first + patients):
        for day in range(1, 9):
            lines.append(f"p{patient},{day:02}.03.2024,HR,{70 + patient % 5 + day % 3}")
    path.write_text("\n".join(lines) + "\n")


def test_whether_the_first_line_is_a_header_is_asked(pullback, tmp_path):
    x = years(tmp_path / "t.csv")
    status, _, err = pullback("dependence", "t.csv", "--x", "2019", "--y", "2020")
    assert status == 2
    assert "may be a header or a row of values; say --header yes or --header no." in err
    argv = ("dependence", "t.csv", "--header", "yes", "--permutations", "19")
    assert pullback(*argv, "--x", "2019", "--y", "2020")[0] == 0
    argv = ("dependence", "t.csv", "--header", "no", "--permutations", "19")
    assert pullback(*argv, "--x", "x1", "--y", "x2")[0] == 0
    tasks.FlowDensity(max_steps=0, random_state=0).fit(
        pd.DataFrame(x, columns=["2019", "2020"])
    ).save(tmp_path / "m")
    assert pullback("score", "m", "t.csv", "--out", "s.csv")[0] == 2
    assert pullback("score", "m", "t.csv", "--out", "s.csv", "--header", "yes")[0] == 0
    assert len(pd.read_csv(tmp_path / "s.csv")) == 60


def test_the_sign_before_fractions_is_said_where_it_may_be_of_thousands(pullback, tmp_path):
    x = years(tmp_path / "t.csv", ",", ";")
    text = (tmp_path / "t.csv").read_text().replace("2019;2020", "a;b")
    (tmp_path / "t.csv").write_text(text.replace("-0,", "1,").replace("\n0,", "\n1,"))
    argv = ("dependence", "t.csv", "--x", "a", "--y", "b", "--permutations", "19")
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text.replace(";0,", ";1,"))
    status, _, err = pullback(*argv)
    assert status == 2
    assert "say --decimal ',' if the comma stands before a fraction" in err
    assert pullback(*argv, "--decimal", ",")[0] == 0
    found = data.read_mixed(tmp_path / "t.csv", decimal=",")
    assert np.abs(found.column("a")).max() < 10
    assert len(x) == len(found.rows)


def test_a_label_that_may_be_a_hole_is_asked_about(pullback, tmp_path):
    random = np.random.default_rng(0)
    kind = np.array(["low", "NA", "high"])[random.integers(3, size=90)]
    frame = pd.DataFrame({"a": random.normal(size=90) + (kind == "low"), "kind": kind})
    frame.to_csv(tmp_path / "t.csv", index=False)
    argv = ("fit", "trust", "t.csv", "--label", "kind", "--out", "m", "--max-steps", "0")
    status, _, err = pullback(*argv, "--no-progress")
    assert status == 2
    assert "say which by --na-labels class or hole." in err
    for said, classes in (("class", ["NA", "high", "low"]), ("hole", ["high", "low"])):
        assert pullback(*argv, "--no-progress", "--no-report", "--na-labels", said)[0] == 0
        assert tasks.load(tmp_path / "m").classes_.tolist() == classes


def test_outcomes_that_may_be_holes_are_asked_about(pullback, tmp_path):
    series(tmp_path / "t.csv", 8)
    ends = "".join(f"p{k},{('NA', 'died')[k % 2]}\n" for k in range(8))
    (tmp_path / "o.csv").write_text("patient,end\n" + ends)
    argv = ("fit", "series", "t.csv", "--out", "m", "--max-steps", "0", "--no-progress",
            "--no-report", "--outcome", "o.csv", "--time-format", "%d.%m.%Y")  # fmt: skip
    status, _, err = pullback(*argv)
    assert status == 2
    assert "say which by --na-labels class or hole." in err
    assert pullback(*argv, "--na-labels", "class")[0] == 0
    assert tasks.load(tmp_path / "m").classes_ == ["NA", "died"]


def test_a_model_of_series_keeps_how_dates_are_written(pullback, tmp_path):
    series(tmp_path / "t.csv", 8)
    argv = ("fit", "series", "t.csv", "--out", "m", "--max-steps", "0", "--no-progress",
            "--no-report")  # fmt: skip
    status, _, err = pullback(*argv)
    assert status == 2
    assert "Say --time-format '%d.%m.%Y'." in err
    assert pullback(*argv, "--time-format", "%d.%m.%Y")[0] == 0
    model = tasks.load(tmp_path / "m")
    assert model.time_format == "%d.%m.%Y"
    status, _, err = pullback("predict", "m", "t.csv", "--out", "p.csv", "--header", "yes")
    assert status == 2
    assert "--header and --decimal are of tables of rows" in err
    series(tmp_path / "new.csv", 2, first=20)
    assert pullback("impute", "m", "new.csv", "--out", "i.csv")[0] == 0
    assert pd.read_csv(tmp_path / "i.csv").time[0].startswith("2024-03-01")
    text = (tmp_path / "new.csv").read_text()
    for day in range(1, 9):
        text = text.replace(f"{day:02}.03.2024", f"2024/03/{day:02}")
    (tmp_path / "new.csv").write_text(text)
    assert pullback("impute", "m", "new.csv", "--out", "i.csv")[0] == 2
    argv = ("impute", "m", "new.csv", "--out", "i.csv", "--time-format", "%Y/%m/%d")
    assert pullback(*argv)[0] == 0


def test_ratings_have_dates_as_a_pattern_says(pullback, tmp_path):
    rows = [
        f"u{u},i{i},{1 + (u + i) % 5},{1 + (u * i) % 27:02}.{1 + i % 12:02}.2023"
        for u in range(12)
        for i in range(12)
        if (u + 2 * i) % 3
    ]
    (tmp_path / "t.csv").write_text("user,item,rating,date\n" + "\n".join(rows) + "\n")
    argv = ("fit", "ratings", "t.csv", "--out", "m", "--method", "als", "--no-report",
            "--no-progress")  # fmt: skip
    assert pullback(*argv)[0] == 2
    assert pullback(*argv, "--time-format", "%d.%m.%Y")[0] == 0
    assert pullback("recommend", "m", "t.csv", "--out", "r.csv")[0] == 0


def test_series_with_decimal_commas(pullback, tmp_path):
    lines = ["patient;time;parameter;value"]
    for patient in range(8):
        lines += [f"p{patient};{t};HR;{70 + patient % 5 + t % 3},500" for t in range(1, 9)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    argv = ("fit", "series", "t.csv", "--out", "m", "--max-steps", "0", "--no-progress",
            "--no-report")  # fmt: skip
    status, _, err = pullback(*argv)
    assert status == 2
    assert "say --decimal ',' if the comma stands before a fraction" in err
    assert pullback(*argv, "--decimal", ",")[0] == 0
    assert tasks.load(tmp_path / "m").decimal == ","
    assert pullback("impute", "m", "t.csv", "--out", "i.csv")[0] == 0
    assert pd.read_csv(tmp_path / "i.csv")["mean"].max() < 80
    (tmp_path / "p.csv").write_text("\n".join(lines).replace(",", ".") + "\n")
    assert pullback("impute", "m", "p.csv", "--out", "i.csv")[0] == 2
    assert pullback("impute", "m", "p.csv", "--out", "i.csv", "--decimal", ".")[0] == 0
