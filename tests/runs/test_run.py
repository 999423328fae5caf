"""A run's folder holds one run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import fake_recipe
from fake_recipe import RECIPE, Config
from pullback.runs import RunError, run


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
    assert record["resumed"] is False
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
        "part0.npz",
        "part1.npz",
    ]
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": Config(parts=4)}, "parts = 3, not 4"),
        ({"config": Config(widths=(4, 5))}, r"widths = \[4, 4\], not \[4, 5\]"),
        ({"seed": 1}, "seed = 0, not 1"),
        ({"data": Path("/x")}, "data = None, not /x"),
    ],
)
def test_resume_names_the_setting_that_differs(begin, tmp_path, monkeypatch, change, message):
    _unfinished(begin, tmp_path / "run", monkeypatch)
    with pytest.raises(RunError, match=message):
        begin(**change, resume=True)


def test_a_run_that_got_nowhere_may_be_started_again(begin, tmp_path, monkeypatch):
    def refuse(config, context):
        raise ValueError("bad data")

    with pytest.raises(ValueError, match="bad data"):
        run(replace(RECIPE, run=refuse), Config(), preset="desk", folder=tmp_path / "run")
    assert begin(Config(parts=2), seed=3)["resumed"] is False


def test_resume_starts_a_run_where_there_is_none(begin):
    assert begin(resume=True)["resumed"] is False


def test_resuming_a_finished_run_computes_nothing_and_says_the_same(begin, tmp_path):
    first = begin()
    calls = (tmp_path / "run" / "calls.txt").read_text()
    again = begin(resume=True)
    assert (tmp_path / "run" / "calls.txt").read_text() == calls
    assert again["claims"] == first["claims"]
    assert again["resumed"] is True
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
