"""Recorded runs are run again in a process of their own, and checked by seeds nobody chose."""

import json
import os
import subprocess

import pytest

from pullback.recipes import papers
from pullback.runs import sources_digest


def _record(results, name, sources, headline=True, **fields):
    claim = {
        "sentence": f"Of {name}", "value": 1.0, "spread": None, "seeds": 1, "unit": "",
        "bound": ">= 0", "reference": "r", "holds": True, "at_least": 0.0, "at_most": None,
        "headline": {"no_effect": 0, "paper": None, "published": False} if headline else None,
    }  # fmt: skip
    record = {
        "recipe": name, "title": "t", "arxiv": "0", "summary": "s", "preset": "desk", "seed": 0,
        "config": {"seeds": 3, "fast": False, "widths": [1, 2]}, "changed": [], "data": None,
        "code": "c", "sources": sources, "commit": None, "claims": [claim], "versions": {},
        "machine": {}, "wall_seconds": 10.0, "legs": [10.0], "finished": "2026-01-01 00:00 UTC",
    } | fields  # fmt: skip
    results.mkdir(exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(record))
    return record


def _digest(name):
    return sources_digest(f"pullback.recipes.{name}")


@pytest.fixture
def results(tmp_path):
    results = tmp_path / "results"
    _record(results, "relax", _digest("relax"))
    _record(results, "vera", "older", finished="2026-01-03 00:00 UTC")
    _record(results, "sumo", "older", finished="2026-01-02 00:00 UTC", headline=False)
    return results


@pytest.fixture
def runs(docs_script, monkeypatch):
    """What was run, in place of running it; a run ends with the record with its own seed."""
    done = []

    def run_again(record, seed, folder):
        done.append((record["recipe"], seed, folder.name))
        if record["recipe"] == "fido":
            return None
        now = _digest(record["recipe"])
        return record | {"seed": seed, "sources": now, "commit": "abc", "code": "d"}

    for script in ("make_records", "check_headlines"):
        monkeypatch.setattr(docs_script(script), "run_again", run_again)
    return done


def test_what_is_of_older_code_is_run_again_the_oldest_first(docs_script, results, runs, tmp_path):
    script = docs_script("make_records")
    flags = ["--results", str(results), "--runs", str(tmp_path / "runs")]
    assert script.main(flags) == 0
    assert runs == [("sumo", 0, "sumo"), ("vera", 0, "vera")]
    assert json.loads((results / "vera.json").read_text())["commit"] == "abc"
    runs.clear()
    assert script.main(flags) == 0
    assert runs == []
    assert script.main([*flags, "relax"]) == 0
    assert runs == [("relax", 0, "relax")]


def test_a_sitting_begins_nothing_that_it_cannot_end(docs_script, results, runs, capsys):
    script = docs_script("make_records")
    assert script.main(["--results", str(results), "--minutes", "0.1"]) == 0
    assert runs == []
    assert "left for another sitting: sumo (10 s)" in capsys.readouterr().err
    assert script.main(["--results", str(results), "--list"]) == 0
    assert capsys.readouterr().out == "sumo  10 s\nvera  10 s\n"
    with pytest.raises(SystemExit):
        script.main(["--results", str(results), "relx"])


def test_a_run_without_claims_leaves_the_record_alone(docs_script, results, runs, capsys):
    _record(results, "fido", "older")
    before = (results / "fido.json").read_bytes()
    assert docs_script("make_records").main(["--results", str(results), "fido"]) == 1
    assert (results / "fido.json").read_bytes() == before
    assert "no result: fido" in capsys.readouterr().err


def test_five_seeds_set_and_three_that_nobody_chose_check(docs_script, results, runs, capsys):
    script = docs_script("check_headlines")
    flags = ["--results", str(results), "relax"]
    assert script.main(flags) == 0
    drawn = script.fresh_seeds(_digest("relax"))
    assert [seed for _, seed, _ in runs] == [0, 1, 2, 3, 4, *drawn]
    assert len(set(drawn)) == 3
    assert all(100_000 <= seed < 1_000_000 for seed in drawn)
    assert script.fresh_seeds("other") != drawn
    assert "3 of 3 fresh hold; 1 ± 0 by 5  Of relax" in capsys.readouterr().out
    assert script.main([*flags, "--show"]) == 0
    assert "older" not in capsys.readouterr().out
    kept = json.loads((results / "checks" / "relax.json").read_text())
    assert [*kept["fresh"]] == [str(seed) for seed in drawn]
    runs.clear()
    assert script.main(flags) == 0  # all is there
    assert runs == []
    kept["sources"] = "older"
    (results / "checks" / "relax.json").write_text(json.dumps(kept))
    capsys.readouterr()
    script.main([*flags, "--show"])
    assert capsys.readouterr().out.startswith("relax (of older code): ")
    assert script.main([*flags, "--fresh"]) == 0
    assert [seed for _, seed, _ in runs] == drawn


def test_desk_results_with_a_headline_are_checked_and_of_the_code_of_today(
    docs_script, results, runs, capsys
):
    script = docs_script("check_headlines")
    assert script.main(["--results", str(results), "--fresh"]) == 1
    assert {name for name, *_ in runs} == {"relax"}
    assert "vera is of older code: record it first" in capsys.readouterr().err


def test_flags_that_make_a_record_again(docs_script, tmp_path):
    record = _record(tmp_path, "relax", "x", changed=["fast", "widths"])
    flags = docs_script("_runs").flags
    want = ["relax", "--preset", "desk", "--no-fast", "--widths", "1", "2", "--seed", "7"]
    assert flags(record, 7) == want


OTHER_CODE = "pullback: the run was made by other code; replace it with --overwrite\n"


@pytest.mark.parametrize(
    ("ends", "wishes", "found"),
    [
        ([(0, "")], ["--resume"], True),
        ([(1, "")], ["--resume"], True),
        ([(2, OTHER_CODE), (1, "")], ["--resume", "--overwrite"], True),
        ([(2, OTHER_CODE), (1, "Traceback")], ["--resume", "--overwrite"], False),
        ([(1, "Traceback")], ["--resume"], False),
        ([(2, "pullback: the disk is full\n")], ["--resume"], False),
        ([(-9, "")], ["--resume"], False),  # killed: it stays to be gone on with
    ],
)
def test_a_run_is_gone_on_with_or_replaced(
    docs_script, tmp_path, monkeypatch, capsys, ends, wishes, found
):
    script = docs_script("_runs")
    record = _record(tmp_path / "results", "relax", "x") | {"seed": 7}
    claims = tmp_path / "claims.json"
    claims.write_text(json.dumps(record))  # of a run before
    os.utime(claims, (1, 1))
    asked = []

    def run(words, stdout, stderr, text):
        assert words[words.index("--seed") + 1] == "7"
        asked.append(words[-1])
        code, said = ends[len(asked) - 1]
        if code in (0, 1) and not said:
            claims.write_text(json.dumps(record))
        return subprocess.CompletedProcess(words, code, None, said)

    monkeypatch.setattr(script.subprocess, "run", run)
    assert script.run_again(record, 7, tmp_path) == (record if found else None)
    assert asked == wishes
    assert capsys.readouterr().err == "".join(said for _, said in ends)


@pytest.mark.parametrize("other", [{"seed": 3}, {"config": {}}, {"recipe": "vera"}])
def test_a_run_that_is_another_is_no_result(docs_script, tmp_path, monkeypatch, other):
    script = docs_script("_runs")
    record = _record(tmp_path / "results", "relax", "x")

    def run(words, **options):
        (tmp_path / "claims.json").write_text(json.dumps(record | {"changed": []} | other))
        return subprocess.CompletedProcess(words, 0, None, "")

    monkeypatch.setattr(script.subprocess, "run", run)
    assert script.run_again(record, 0, tmp_path) is None


def test_a_run_of_code_that_changed_meanwhile_is_no_result(
    docs_script, results, monkeypatch, capsys
):
    before = (results / "vera.json").read_bytes()
    for script, argument in (("make_records", "vera"), ("check_headlines", "relax")):
        module = docs_script(script)
        again = lambda record, seed, folder: record | {"seed": seed, "sources": "changed"}
        monkeypatch.setattr(module, "run_again", again)
        assert module.main(["--results", str(results), argument]) == 1
        assert "no result: " in capsys.readouterr().err
    assert (results / "vera.json").read_bytes() == before
    assert not (results / "checks").exists()


def test_every_paper_that_says_what_it_is_known_for_says_it_whole():
    told = [paper.headline for paper in papers().values() if paper.headline is not None]
    for known in told:
        assert known.says.endswith(".")
        assert known.figure
