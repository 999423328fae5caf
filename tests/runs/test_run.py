"""A run's folder holds one run."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import fake_recipe
from fake_recipe import RECIPE, Config
from pullback import __version__
from pullback.data import DataError, locate
from pullback.runs import RunError, run
from pullback.runs._folder import held
from pullback.runs._identity import code_digest, digest_of_files


@pytest.fixture
def begin(tmp_path):
    def begin(config=None, **options):
        return run(RECIPE, config or Config(), preset="desk", folder=tmp_path / "run", **options)

    return begin


def _unfinished(begin, folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("FAKE_INTERRUPT_AT", "1")
        with pytest.raises(KeyboardInterrupt):
            begin()
    assert not (folder / "claims.json").exists()


def test_the_record_says_what_was_run_and_with_what(begin, tmp_path):
    record = begin(Config(parts=2), seed=5)
    assert record == json.loads((tmp_path / "run" / "claims.json").read_text())
    assert (record["preset"], record["seed"], record["changed"]) == ("desk", 5, ["parts"])
    assert record["config"] == {"parts": 2, "bound": 100.0, "widths": [4, 4], "name": "plain"}
    assert {"python", "jax", "pullback", "numpy"} <= set(record["versions"])
    assert record["machine"]["cores"] >= 1
    assert record["wall_seconds"] >= 0
    assert len(record["legs"]) == 1
    assert [c["holds"] for c in record["claims"]] == [True, True]
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"config.json", "metrics.jsonl", "claims.json", "figures", "report.html"} <= files


def test_a_finished_run_is_not_replaced_unasked(begin, tmp_path):
    begin()
    before = (tmp_path / "run" / "claims.json").read_bytes()
    with pytest.raises(RunError, match=r"holds a finished run; --resume .* --overwrite"):
        begin(seed=1)
    assert (tmp_path / "run" / "claims.json").read_bytes() == before


def test_an_unfinished_run_is_not_replaced_unasked(begin, tmp_path, monkeypatch):
    _unfinished(begin, tmp_path / "run", monkeypatch)
    with pytest.raises(RunError, match="holds an unfinished run"):
        begin()


def test_overwrite_leaves_nothing_of_the_old_run_and_keeps_what_no_run_wrote(begin, tmp_path):
    begin(Config(parts=5))
    (tmp_path / "run" / "mine.txt").write_text("mine")
    begin(Config(parts=2), overwrite=True)
    assert sorted(p.name for p in (tmp_path / "run" / "stages").iterdir()) == [
        "part0.safetensors",
        "part1.safetensors",
    ]
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": Config(parts=4)}, "parts = 3, not 4"),
        ({"config": Config(widths=(4, 5))}, r"widths = \[4, 4\], not \[4, 5\]"),
        ({"seed": 1}, "seed = 0, not 1"),
    ],
)
def test_resume_names_the_setting_that_differs(begin, tmp_path, monkeypatch, change, message):
    _unfinished(begin, tmp_path / "run", monkeypatch)
    with pytest.raises(RunError, match=message):
        begin(**change, resume=True)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_data_that_were_edited_are_not_resumed_with(begin, tmp_path, monkeypatch, kind):
    data = tmp_path / "data" if kind == "folder" else tmp_path / "data.csv"
    file = data / "points.csv" if kind == "folder" else data
    file.parent.mkdir(exist_ok=True)
    file.write_text("1,2\n")
    with monkeypatch.context() as patch:
        patch.setenv("FAKE_INTERRUPT_AT", "1")
        with pytest.raises(KeyboardInterrupt):
            begin(data=data)
    file.write_text("1,3\n")
    message = rf"made with other data: what {data} holds is not what it held then.*--overwrite"
    with pytest.raises(RunError, match=message):
        begin(data=data, resume=True)
    with pytest.raises(RunError, match="made with other data: what no file holds"):
        begin(resume=True)
    file.write_text("1,2\n")
    assert len(begin(data=data, resume=True)["legs"]) == 2


def test_the_digest_of_data_follows_what_files_hold_and_not_where_they_lie(tmp_path):
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text(text)
    first, same, other = (digest_of_files([tmp_path / name / "data.csv"]) for name in "abc")
    assert first == same != other
    assert digest_of_files([tmp_path / "a"]) != digest_of_files([tmp_path / "c"])


def test_a_run_is_not_resumed_by_other_code(begin, tmp_path, monkeypatch):
    _unfinished(begin, tmp_path / "run", monkeypatch)
    code = json.loads((tmp_path / "run" / "config.json").read_text())["code"]
    assert code == f"{__version__}+{code_digest()}"
    monkeypatch.setattr("pullback.runs._identity.code_digest", lambda: "0" * 12)
    with pytest.raises(RunError, match=rf"by other code: pullback {re.escape(code)}; this is "):
        begin(resume=True)


def test_a_run_is_not_resumed_in_another_precision_or_by_other_libraries(
    begin, tmp_path, monkeypatch
):
    import jax

    _unfinished(begin, tmp_path / "run", monkeypatch)
    one, other = ("single", "double")[:: -1 if jax.config.jax_enable_x64 else 1]
    with jax.enable_x64(not jax.config.jax_enable_x64):
        with pytest.raises(RunError, match=rf"made with arrays of {one} .*; this is {other} prec"):
            begin(resume=True)
    with monkeypatch.context() as patch:
        patch.setattr("pullback.runs._identity.version", lambda name: f"{name} 9")
        with pytest.raises(RunError, match=r"made with jax of version .*; this is version jax 9"):
            begin(resume=True)
    assert len(begin(resume=True)["legs"]) == 2


def test_a_refused_run_leaves_no_folder(tmp_path):
    def refuse(config, context):
        context.folder("net")  # made, and nothing in it
        raise DataError("my.csv", "has no numbers")

    folder = tmp_path / "runs" / "fake" / "desk"
    recipe = replace(RECIPE, run=refuse)
    with pytest.raises(DataError):
        run(recipe, Config(), preset="desk", folder=folder)
    missing = replace(RECIPE, reads=lambda data: locate("mnist", tmp_path))
    with pytest.raises(DataError, match="not found"):
        run(missing, Config(), preset="desk", folder=folder)
    assert list(tmp_path.iterdir()) == []
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(RunError):
        run(recipe, Config(), preset="desk", folder=folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_one_process_holds_a_folder(begin, tmp_path):
    folder = tmp_path / "run"
    with held(folder):
        script = (
            "import sys; from pathlib import Path\n"
            "from pullback.runs._folder import held, RunError\n"
            "try:\n    with held(Path(sys.argv[1])): print('held')\n"
            "except RunError as error: print(error)\n"
        )
        other = [sys.executable, "-c", script, str(folder)]
        said = subprocess.run(other, capture_output=True, text=True, check=True).stdout
        assert f"another process (number {os.getpid()}) is running in {folder}" in said
        with pytest.raises(RunError, match="another process"):
            begin()
    assert not folder.exists()
    said = subprocess.run(other, capture_output=True, text=True, check=True).stdout
    assert said == "held\n"
    assert len(begin()["legs"]) == 1
    assert not (folder / ".lock").exists()


def test_a_lock_is_let_go_when_its_process_dies(begin, tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from pullback.runs._folder import held\n"
        "with held(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")])
    assert (tmp_path / "run" / ".lock").exists()
    assert len(begin()["legs"]) == 1


def test_a_folder_that_cannot_be_made_is_named(begin, tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    with pytest.raises(RunError, match=rf"{folder} cannot be made or written to"):
        run(RECIPE, Config(), preset="desk", folder=folder)


def test_a_run_that_got_nowhere_may_be_started_again(begin, tmp_path, monkeypatch):
    def refuse(config, context):
        raise ValueError("bad data")

    with pytest.raises(ValueError, match="bad data"):
        run(replace(RECIPE, run=refuse), Config(), preset="desk", folder=tmp_path / "run")
    assert len(begin(Config(parts=2), seed=3)["legs"]) == 1


def test_resume_starts_a_run_where_there_is_none(begin):
    assert len(begin(resume=True)["legs"]) == 1


def test_resuming_a_finished_run_computes_nothing_and_says_the_same(begin, tmp_path):
    first = begin()
    calls = (tmp_path / "run" / "calls.txt").read_text()
    again = begin(resume=True)
    assert (tmp_path / "run" / "calls.txt").read_text() == calls
    assert again["claims"] == first["claims"]
    assert len(again["legs"]) == 2
    assert again["wall_seconds"] >= first["wall_seconds"]


def test_other_peoples_files_are_left_alone(begin, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "thesis.tex").write_text("all my work")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(RunError, match="no run of pullback"):
            begin(**options)
    (folder / "config.json").write_text('{"of": "another program"}')
    with pytest.raises(RunError, match="no run of pullback"):
        begin(overwrite=True)
    assert (folder / "thesis.tex").read_text() == "all my work"


def test_a_file_is_not_a_folder_and_two_wishes_are_one_too_many(begin, tmp_path):
    with pytest.raises(RunError, match="give one of them"):
        begin(resume=True, overwrite=True)
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="is a file"):
        begin()


def test_the_base_seed_reaches_the_recipe(begin, tmp_path):
    values = [begin(seed=seed, overwrite=True)["claims"][0]["value"] for seed in (0, 1, 0)]
    assert values[0] == values[2] != values[1]
    assert fake_recipe.RECIPE.presets["desk"] == Config()
