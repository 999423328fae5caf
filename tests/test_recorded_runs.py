"""Recorded runs are run again in a process of their own, and checked by seeds nobody chose."""

import json

import pytest

from pullback.recipes import papers
from pullback.runs import sources_digest


def _record(results, name, sources, headline=True, **fields):
    claim = {
        "sentence": f"Of {name}", "value": 1.0, "spread": None, "seeds": 1, "unit": "",
        "bound": ">= 0", "reference": "r", "holds": True,
        "headline": {"no_effect": 0, "paper": None, "published": False} if headline else None,
        "verdict": "reproduced in kind" if headline else None,
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
    kept = json.loads((results / "checks" / "relax.json").read_text())
    assert [*kept["fresh"]] == [str(seed) for seed in drawn]
    runs.clear()
    assert script.main(flags) == 0  # all is there
    assert runs == []
    kept["sources"] = "older"
    (results / "checks" / "relax.json").write_text(json.dumps(kept))
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


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_run_is_gone_on_with_or_replaced(docs_script, tmp_path, monkeypatch, code):
    script = docs_script("_runs")
    record = _record(tmp_path, "relax", "x")
    asked = []

    class Done:
        returncode = code

    def run(words, stdout):
        asked.append(words[-1])
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "claims.json").write_text(json.dumps(record))
        return Done

    monkeypatch.setattr(script.subprocess, "run", run)
    found = script.run_again(record, 0, tmp_path / "run")
    assert asked == (["--resume"] if code < 2 else ["--resume", "--overwrite"])
    assert found == (record if code < 2 else None)


def test_every_paper_that_says_what_it_is_known_for_says_it_whole():
    told = [paper.headline for paper in papers().values() if paper.headline is not None]
    for known in told:
        assert known.says.endswith(".")
        assert known.figure
