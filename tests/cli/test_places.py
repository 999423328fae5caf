"""Where a command cannot write, it says so in a sentence, ends with 2 and leaves what was there."""

import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pullback import cli, tasks
from pullback._archive import write_archive
from pullback._lock import folder_lock
from pullback.cli._common import told_of
from pullback.cli._fit import TASKS

pytestmark = pytest.mark.usefixtures("workplace")

# What each command that writes is called with, in front of --out.
INTO_A_FOLDER = {
    **{task: f"fit {task} my.csv" for task in TASKS},
    "classes": "fit classes my.csv --label a",
    "regression": "fit regression my.csv --label a",
    "trust": "fit trust my.csv --label a",
    "tasks": "fit tasks my.csv --label a",
    "explain": "explain pictures.npy --model my.py:predict",
    "design sequences": "design dna",
    "design molecules": "design molecules",
    "interpolate": "design molecules --start C --to CC",
    "test": "test my.csv",
    "dependence": "dependence my.csv --x a --y b",
}
INTO_A_FILE = {
    "score": "score m my.csv",
    "predict": "predict m my.csv",
    "sample": "sample m",
    "sample graphs": "sample graphs",
    "impute": "impute m my.csv",
    "forecast": "forecast m my.csv --until 3",
    "simulate": "simulate m my.csv --until 3",
    "recommend": "recommend m my.csv",
}
OTHERS = {"run", "gallery", "record", "data"}  # below
QUIET = {"show", "list", "cite"}


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table, models in name only, and nothing that may be read or loaded."""
    x = np.random.default_rng(0).normal(size=(40, 2))
    lines = ["name,a,b", *(f"r{k},{a!r},{b!r}" for k, (a, b) in enumerate(x.tolist()))]
    Path("my.csv").write_text("\n".join(lines) + "\n")
    kinds = {"m": "FlowDensity", "dna": "SequenceDesigner", "molecules": "MoleculeDesigner"}
    for folder, task in {**kinds, "graphs": "GraphGenerator"}.items():
        write_archive(Path(folder, "model.safetensors"), {"task": task}, {})

    def read(*inputs, **settings):
        raise AssertionError("began to work")

    for name in ("data.read_mixed", "data.read_graphs", "tasks.load", "tasks.model_of_file"):
        monkeypatch.setattr(f"pullback.{name}", read)


def test_every_command_is_among_these(pullback):
    verbs = set(re.findall(r"\{(.*)\}", pullback("--help")[1])[0].split(","))
    words = {argv.split()[0] for argv in {**INTO_A_FOLDER, **INTO_A_FILE}.values()}
    assert verbs == words | OTHERS | QUIET


@pytest.mark.parametrize("place", ["/proc/none/m", "my.csv/m", "my.csv", "my.csv/deep/er"])
@pytest.mark.parametrize("command", INTO_A_FOLDER)
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(command, place, table, pullback):
    before = sorted(Path().rglob("*"))
    status, out, err = pullback(*INTO_A_FOLDER[command].split(), "--out", place)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.endswith(("; name another place with --out\n", "; name a folder with --out\n"))
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("command", INTO_A_FOLDER)
def test_a_folder_in_the_place_of_a_file_is_refused_before_any_work(command, table, pullback):
    for name in ("model.safetensors", "designs.csv", "interpolation.csv", "report.html"):
        Path("out", name).mkdir(parents=True)
    status, out, err = pullback(*INTO_A_FOLDER[command].split(), "--out", "out")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "Is a directory" in err
    assert len(list(Path("out").iterdir())) == 4


@pytest.mark.parametrize("place", ["/proc/none/o.csv", "my.csv/o.csv", "d.csv"])
@pytest.mark.parametrize("command", INTO_A_FILE)
def test_a_file_that_cannot_be_made_is_refused_before_any_work(command, place, table, pullback):
    place = place if command != "sample graphs" else place.replace("o.csv", "o.npz")
    place = place if command != "sample graphs" else place.replace("d.csv", "d.npz")
    for folder in ("d.csv", "d.npz"):
        Path(folder).mkdir()
    status, out, err = pullback(*INTO_A_FILE[command].split(), "--out", place)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "cannot be written to" in err
    assert err.endswith("; name another place with --out\n")
    assert not [*Path("d.csv").iterdir(), *Path("d.npz").iterdir()]


@pytest.mark.parametrize("place", ["/proc/none/w", "my.csv/w", "my.csv"])
def test_tables_that_cannot_be_put_down_are_named(place, table, pullback):
    status, out, err = pullback("data", "fetch", "wine", "--out", place)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert place.startswith(err.removeprefix("pullback: ").partition(": ")[0])


@pytest.mark.parametrize(
    "command", [name for name, argv in INTO_A_FOLDER.items() if name not in ("test", "dependence")]
)
def test_of_two_at_once_in_a_folder_the_second_is_refused(command, table, pullback):
    with folder_lock("out"):
        status, out, err = pullback(*INTO_A_FOLDER[command].split(), "--out", "out")
    assert (status, out) == (2, "")
    assert f"out: another process (number {os.getpid()}) is at work in it; wait for it, or" in err
    assert err.endswith("name another folder with --out\n")
    assert not Path("out").exists()


def test_a_fit_lets_go_of_its_folder_and_leaves_none_where_it_is_refused(pullback):
    Path("my.csv").write_text("a,b\n1,2\n3\n")
    for _ in range(2):
        status, _, err = pullback("fit", "density", "my.csv", "--out", "deep/m")
        assert (status, "line 3" in err) == (2, True)
        assert os.listdir() == ["my.csv"]


FULL = ", and a file that was there is as it was; make room, or name another place with --out\n"


@pytest.mark.parametrize("name", ["report.html", "model.safetensors", "model.json", "scores.csv"])
def test_files_that_no_fit_wrote_are_told_of_before_any_work(name, table, pullback):
    Path("out").mkdir()
    Path("out", name).write_text("mine")
    argv = "ratings my.csv --out out" if name == "scores.csv" else "density my.csv --out out"
    status, out, err = pullback("fit", *argv.split())
    assert (status, out) == (2, "")
    assert err == (
        f"pullback: out/{name} is there, and pullback fit did not write it; move it elsewhere, or "
        "name another folder with --out\n"
    )
    assert Path("out", name).read_text() == "mine"
    assert [*Path("out").iterdir()] == [Path("out", name)]


def test_a_model_whose_report_has_no_room_is_said_to_be_saved(pullback, monkeypatch):
    x = np.random.default_rng(1).normal(size=(60, 2))
    np.savetxt("my.csv", x, delimiter=",", header="a,b", comments="")

    def full(*given):
        raise OSError(28, "No space left on device", "m/report.html")

    monkeypatch.setattr(tasks, "write_report", full)
    status, _, err = pullback("fit", "density", "my.csv", "--out", "m", "--no-progress")
    assert status == 2
    assert "the model is saved in m, and m/report.html cannot be written (No space left" in err
    assert tasks.load("m").columns_ == ("a", "b")


ON_A_FULL_DISK = {
    "dependence my.csv --x a --y b --permutations 19 --out t": "t/report.html",
    "data fetch wine --out w": "w/wine.csv",
    "fit density my.csv --out m --no-progress --no-report": "m/model.safetensors",
    "score m my.csv --out s.csv": "s.csv",
    "score m my.csv --out s.parquet": "s.parquet",
    "sample m --out n.csv": "n.csv",
}


@pytest.mark.parametrize("count", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_on_a_full_disk_every_old_file_stays(count, pullback, full_disk):
    """The same commands twice, the second time with no room for what they write."""
    x = np.random.default_rng(1).normal(size=(120, 2))
    np.savetxt("my.csv", x, delimiter=",", header="a,b", comments="")
    commands = dict([*ON_A_FULL_DISK.items()][:count])
    for argv in commands:
        assert pullback(*argv.split())[0] == 0, argv
    before = {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}
    assert {Path(file) for file in commands.values()} < set(before)
    everything = sorted(Path().rglob("*"))
    for argv, file in commands.items():
        with full_disk(150):
            status, _, err = pullback(*argv.split())
        assert (status, err.count("\n")) == (2, 1)
        assert f"pullback: {file} cannot be written (File too large){FULL}" in err
        assert {file: file.read_bytes() for file in before} == before
        assert sorted(Path().rglob("*")) == everything
    if count > 2:
        assert tasks.load("m").columns_ == ("a", "b")


def test_what_cannot_be_printed_is_no_traceback():
    if not Path("/dev/full").exists():
        pytest.skip("there is no disk that is always full")
    # What is printed waits for more, unless Python is told otherwise.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for argv in (["list"], ["--version"], ["fit", "--help"]):
        script = f"import sys; from pullback import cli; sys.exit(cli.main({argv!r}))"
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True,
                env=environment,
            )  # fmt: skip
        told = "pullback: standard output cannot be written (No space left on device)\n"
        assert (done.returncode, done.stderr) == (2, told), argv


def test_standard_input_that_cannot_be_kept_or_is_closed_is_told_of(
    table, pullback, full_disk, monkeypatch, tmp_path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "room"))
    (tmp_path / "room").mkdir()
    argv = ("fit", "density", "-", "--out", "new")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n" + b"1,2\n" * 999)))
    with full_disk(100):
        status, _, err = pullback(*argv)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(
        f"pullback: standard input, which is kept in {tmp_path / 'room'} while it"
    )
    assert err.endswith("File too large; name a folder with room by the variable TMPDIR\n")
    assert not [*Path("room").iterdir()]
    monkeypatch.setattr(sys, "stdin", None)
    told = "pullback: standard input is closed; name a file, or lead one there by < FILE\n"
    assert pullback(*argv) == (2, "", told)
    with Path.cwd().joinpath("my.csv").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        monkeypatch.setattr("shutil.copyfileobj", _refuse)
        assert pullback(*argv)[2] == "pullback: standard input: Is a directory\n"
    assert not Path("new").exists()


def _refuse(*files):
    raise IsADirectoryError(errno.EISDIR, "Is a directory")


def test_an_error_of_the_system_is_told_in_one_place(pullback, monkeypatch):
    def refuse(name, folder):
        raise OSError(errno.EROFS, "Read-only file system", "cache/wine.csv")

    monkeypatch.setattr("pullback.data.fetch", refuse)
    told = "pullback: cache/wine.csv: Read-only file system\n"
    assert pullback("data", "fetch", "wine") == (2, "", told)
    assert told_of(OSError("no number and no name")) == (
        "standard output cannot be written (no number and no name)"
    )

    monkeypatch.setattr(cli, "list_recipes", lambda: refuse(None, None))
    assert pullback("list") == (2, "", told)
