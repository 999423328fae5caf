"""What is refused before any work, and how it is said."""

import io
import os
import sys

import numpy as np
import pytest

from pullback import tasks
from pullback._files import check_writable
from pullback.cli._common import with_flags

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def table(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 2))
    lines = ["name,a,b", *(f"r{k},{a!r},{b!r}" for k, (a, b) in enumerate(x.tolist()))]
    (tmp_path / "my.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "m").mkdir()


NOWHERE = "/proc/none/out.csv"


@pytest.mark.parametrize(
    "argv",
    [
        "fit density my.csv --out /proc/none/m",
        "fit density my.csv --out my.csv/m",
        "fit dynamics my.csv --out /proc/none/m",
        f"score m my.csv --out {NOWHERE}",
        f"sample m --out {NOWHERE}",
        "score m my.csv --out my.csv/s.csv",
        f"predict m my.csv --out {NOWHERE}",
        f"impute m my.csv --out {NOWHERE}",
        f"simulate m my.csv --until 3 --out {NOWHERE}",
        "dependence my.csv --x a --y b --out /proc/none/m",
        "test my.csv --out /proc/none/m",
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused_before_any_work(
    argv, table, pullback, monkeypatch
):
    def read(*inputs, **settings):
        raise AssertionError("read the file")

    for name in ("pullback.data.read_mixed", "pullback.tasks.load"):
        monkeypatch.setattr(name, read)
    status, out, err = pullback(*argv.split())
    assert (status, out) == (2, "")
    assert "cannot be written to" in err
    assert "name another place with --out" in err


def test_looking_whether_a_place_can_be_written_to_leaves_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b" / "t.csv")
    (tmp_path / "t.csv").write_text("old")
    check_writable(tmp_path / "t.csv")
    assert os.listdir(tmp_path) == ["t.csv"]
    assert (tmp_path / "t.csv").read_text() == "old"
    with pytest.raises(IsADirectoryError):
        check_writable(tmp_path)


@pytest.mark.parametrize("out", ["my.csv", "./m/../my.csv", "link.csv"])
@pytest.mark.parametrize("verb", ["score", "predict", "impute", "forecast --until 3", "simulate"])
def test_a_table_is_not_written_over_the_one_that_is_read(verb, out, table, pullback, tmp_path):
    before = (tmp_path / "my.csv").read_text()
    os.symlink("my.csv", "link.csv")
    more = ["--until", "3"] if verb == "simulate" else []
    first, *flags = verb.split()
    status, _, err = pullback(first, "m", "my.csv", "--out", out, *flags, *more)
    assert status == 2
    assert "is the file that is read" in err
    assert (tmp_path / "my.csv").read_text() == before


@pytest.mark.parametrize(
    "argv", ["score m - --out s.csv", "fit density - --out n", "dependence - --x a --y b"]
)
def test_what_is_wrong_with_standard_input_is_said_of_it(argv, table, pullback, monkeypatch):
    if argv.startswith("score"):
        tasks.FlowDensity(max_steps=0, random_state=0).fit("my.csv").save("m")
    text = b"name,a,b\nx,1,2\ny,1,2,3\nz,3,4\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    status, _, err = pullback(*argv.split())
    assert status == 2
    assert err.startswith("pullback: standard input")
    assert "tmp" not in err
    assert "stdin" not in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit density my.csv --out n --columns a name", "numbers to take, --columns a, or"),
        ("fit classes my.csv --out n --label a --columns a b", "cannot be one of --columns"),
        ("fit series my.csv --out n", "which is it: --series ...?"),
    ],
)
def test_messages_name_flags_and_not_arguments(argv, message, table, pullback):
    status, _, err = pullback(*argv.split())
    assert status == 2
    assert message in err
    assert "`" not in err
    assert "on the command line" not in err


def test_an_argument_that_is_no_flag_of_a_command_stays():
    def verb(file, max_steps, columns): ...

    told = with_flags(
        "`file`, `y`, `max_steps`, columns=['a'] (on the command line --columns a)", verb
    )
    assert told == "`file`, `y`, --max-steps, --columns a"
