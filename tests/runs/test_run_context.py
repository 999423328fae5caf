"""A run that is stopped and resumed ends where an unbroken one ends."""

import json

import numpy as np
import pytest

from pullback.plots import figure
from pullback.runs import Context


def test_a_stage_that_comes_back_does_not_alias_what_the_function_returned(tmp_path):
    mine = np.zeros(2)
    kept = Context(tmp_path).stage("s", lambda: mine)
    mine[:] = 1
    assert kept.tolist() == [0, 0]


class _Stop(Exception):
    pass


def _recipe(context, calls, stop_at=None):
    """Stages that show and nest, each noted in `calls`, with a stop before one of them."""

    def work(name, factor):
        if name == stop_at:
            raise _Stop
        calls.append(name)
        context.metrics({"stage": name, "loss": factor / 3})
        if name == "b":
            context.stage("b-inner", work, "b-inner", 7)
        fig, ax = figure(width=1, height=1)
        ax.plot([0, factor])
        context.figure(name, fig, f"Figure {name}.")
        context.note(f"note {name}")
        return {"x": np.full(2, factor), "y": (factor, [None])}

    context.metrics({"begin": 1})
    results = [context.stage(name, work, name, k) for k, name in enumerate("abc")]
    if stop_at == "end":
        raise _Stop
    context.table("t", ["sum"], [[float(sum(r["x"].sum() for r in results))]], "Sum.")
    return repr(results)


def _all_files(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".safetensors")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.parametrize("stop_at", ["a", "b", "b-inner", "c", "end"])
def test_resuming_gives_the_result_of_an_unbroken_run(tmp_path, stop_at):
    unbroken = Context(tmp_path / "unbroken")
    wanted = _recipe(unbroken, [])

    calls = []
    with pytest.raises(_Stop):
        _recipe(Context(tmp_path / "run"), calls, stop_at)
    resumed = Context(tmp_path / "run", resume=True)
    assert _recipe(resumed, calls) == wanted
    assert json.dumps(resumed.contents) == json.dumps(unbroken.contents)
    assert _all_files(tmp_path / "run") == _all_files(tmp_path / "unbroken")
    # Finished stages are not computed again; only `b`, stopped in its middle, begins twice.
    assert sorted(calls) == sorted(["a", "b", "b-inner", "c"] + ["b"] * (stop_at == "b-inner"))


@pytest.mark.parametrize("gone", ["a", "b", "b-inner"])
def test_a_picture_that_was_taken_away_is_drawn_again(tmp_path, gone):
    _recipe(Context(tmp_path / "unbroken"), [])
    _recipe(Context(tmp_path / "run"), [])
    (tmp_path / "run" / "figures" / f"{gone}.png").unlink()
    calls = []
    _recipe(Context(tmp_path / "run", resume=True), calls)
    assert _all_files(tmp_path / "run") == _all_files(tmp_path / "unbroken")
    # What lies in a stage is part of it, and its own stages come back.
    assert calls == {"a": ["a"], "b": ["b"], "b-inner": ["b", "b-inner"]}[gone]


def test_without_resume_old_stages_are_not_read(tmp_path):
    assert Context(tmp_path).stage("s", lambda: 1) == 1
    assert Context(tmp_path).stage("s", lambda: 2) == 2
    assert Context(tmp_path, resume=True).stage("s", lambda: 3) == 2


def test_names_are_used_once_and_are_file_names(tmp_path):
    context = Context(tmp_path)
    context.stage("s", lambda: 1)
    with pytest.raises(ValueError, match="a stage named 's' already"):
        context.stage("s", lambda: 2)
    context.stage("draw", lambda: context.table("t", ["a"], [[1]], "c"))
    again = Context(tmp_path, resume=True)
    again.stage("draw", lambda: None)
    for one in (context, again):
        with pytest.raises(ValueError, match="a table named 't' already"):
            one.table("t", ["a"], [[1]], "c")
    for name in ("../s", "", ".s", "a/b", "a b"):
        with pytest.raises(ValueError, match="as for a file"):
            context.stage(name, lambda: 1)
        with pytest.raises(ValueError, match="as for a file"):
            context.folder(name)


def test_a_ragged_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match="row 1 of table 't' has 1 cells; the header has 2"):
        Context(tmp_path).table("t", ["a", "b"], [[1, 2], [1]], "c")


def test_a_training_folder_is_the_same_every_time(tmp_path):
    first = Context(tmp_path).folder("net-0")
    (first / "checkpoint").write_text("x")
    again = Context(tmp_path, resume=True).folder("net-0")
    assert (again / "checkpoint").read_text() == "x"
    assert tmp_path in again.parents


def test_a_pyplot_figure_is_closed(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"backend": "agg"}):
        import matplotlib.pyplot as plt

        fig, _ = plt.subplots(figsize=(1, 1))
        Context(tmp_path).figure("f", fig, "caption")
        assert not plt.fignum_exists(fig.number)
