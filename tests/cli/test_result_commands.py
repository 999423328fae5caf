"""Questions to a table from the command: does a model fit, and what do columns share."""

import numpy as np
import pytest

from pullback import tasks


@pytest.fixture(autouse=True)
def table(workplace, tmp_path):
    x = np.random.default_rng(0).normal(size=(150, 3))
    x[:, 1] = x[:, 0] ** 2 + 0.3 * x[:, 1]
    lines = [f"r{k},{a!r},{b!r},{c!r}" for k, (a, b, c) in enumerate(x.tolist())]
    (tmp_path / "my.csv").write_text("\n".join(["name,a,b,c", *lines]) + "\n")
    return x


def test_what_columns_share_is_told_and_written(pullback, tmp_path):
    words = ("dependence", "my.csv", "--x", "a", "--y", "b,c", "--permutations", "19")
    status, told, _ = pullback(*words, "--out", "page")
    assert status == 0
    found = tasks.dependence(tmp_path / "my.csv", ["a"], ["b", "c"], permutations=19,
                             random_state=0)  # fmt: skip
    assert told == f"{found}\nreport: page/report.html\n"
    assert told.startswith("a shares ")
    assert "more than chance: p = 0.05" in told
    assert "my.csv: what columns share" in (tmp_path / "page" / "report.html").read_text()


def test_a_gaussian_and_a_saved_density_are_tested(pullback, tmp_path):
    status, told, _ = pullback("test", "my.csv", "--columns", "a,b")
    assert status == 0
    assert "A Gaussian does not fit my.csv: p = 0.00" in told
    tasks.FlowDensity(columns=["a", "c"], max_steps=0, random_state=0).fit(
        tmp_path / "my.csv"
    ).save("m")
    status, told, _ = pullback("test", "my.csv", "--model", "m", "--out", "page")
    assert status == 0
    found = tasks.goodness_of_fit(tmp_path / "my.csv", "m", random_state=0)
    assert told == f"{found}\nreport: page/report.html\n"
    assert "These are the rows that the model was fitted to" in told
    assert (tmp_path / "page" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("test", "my.csv", "--level", "2"), "--level must be between 0 and 1, got 2"),
        (("test", "my.csv", "--model", "m", "--columns", "a"), "--columns are those of the model"),
        (("test", "my.csv", "--model", "m"), "m holds no saved model"),
        (("dependence", "my.csv", "--x", "a", "--y", "a"), "column 'a' is in --x and in --y"),
        (("dependence", "my.csv", "--x", "a", "--y", "z"), "z"),
        (("dependence", "my.csv", "--x", "a", "--y", "name"), "name"),
        (("dependence", "my.csv", "--x", "a", "--y", "b", "--out", "my.csv"), "is a file; name a"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(pullback, words, message):
    status, _, error = pullback(*words)
    assert status == 2
    assert message in error
    assert len(error) < 2000
