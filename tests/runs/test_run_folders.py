"""What lies in a run's folder is not trusted: not its names, not what its files hold."""

import contextlib
import itertools
import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fake_recipe import RECIPE, Config
from pullback.runs import Claim, Context, RunError, read_record, run, write_gallery, write_page

WAYS = ({}, {"overwrite": True}, {"resume": True})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def begin(folder):
    def begin(config=None, recipe=RECIPE, **options):
        return run(recipe, config or Config(), preset="desk", folder=folder, **options)

    return begin


def _files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize(
    "config",
    [
        {"recipe": "minestrone", "config": {"servings": 4}},
        {"recipe": "cnf", "preset": "desk", "seed": 0, "data": None, "code": "v2",
         "with": {}, "config": {}},
        {"recipe": "cnf", "preset": "desk", "seed": "0", "data": None, "with": {}, "config": {},
         "code": "0.1.0+0123456789ab"},
    ],
    ids=["two-keys", "other-code", "other-types"],
)  # fmt: skip
def test_a_folder_that_only_looks_like_a_run_is_left_alone(begin, folder, config, options):
    for name in ("figures/photo.png", "stages/notes.safetensors", "training/plan.txt"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("all my work")
    (folder / "config.json").write_text(json.dumps(config))
    before = _files(folder)
    with pytest.raises(RunError, match=r"no run of pullback .*; name another folder with --out"):
        begin(**options)
    assert _files(folder) == before


def test_overwrite_takes_away_what_a_run_wrote_and_nothing_beside_it(begin, folder, tmp_path):
    begin(Config(parts=5))
    own = (
        "figures/notes.txt", "figures/mine.png", "figures/more/photo.png", "stages/thoughts.md",
        "stages/mine.safetensors", "training/notes.txt", "mine.txt", ".config.json.swp",
        ".report.html.bak",
    )  # fmt: skip
    for name in own:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    (tmp_path / "thesis.tex").write_text("all my work")
    (folder / "stages" / "part4.safetensors").unlink()
    (folder / "stages" / "part4.safetensors").symlink_to(tmp_path / "thesis.tex")
    begin(Config(parts=2), overwrite=True)
    assert [(folder / name).read_text() for name in own] == len(own) * ["mine"]
    assert (tmp_path / "thesis.tex").read_text() == "all my work"
    for name in ("stages/part4.safetensors", "stages/part2.safetensors", ".replaced"):
        assert not os.path.lexists(folder / name)


@pytest.mark.parametrize("inner", ["figures", "stages", "training"])
def test_a_linked_folder_is_not_entered(begin, folder, tmp_path, inner):
    begin()
    album = tmp_path / "album"
    album.mkdir()
    for name in ("photo.png", "total.png", "part0.safetensors", "notes.txt"):
        (album / name).write_text("mine")
    shutil.rmtree(folder / inner, ignore_errors=True)
    (folder / inner).symlink_to(album)
    before, kept = _files(album), _files(folder)
    for options in WAYS[1:]:
        with pytest.raises(RunError, match=rf"{inner} is a link, where a run has a folder"):
            begin(**options)
    assert _files(album) == before
    assert _files(folder) == kept
    (folder / inner).unlink()
    (folder / inner).write_text("mine")
    with pytest.raises(RunError, match=rf"{inner} is a file, where a run has a folder"):
        begin(overwrite=True)


def _stopping(error, *, results):
    """A recipe that stops, before or after its first result."""

    def stop(config, context):
        context.metrics({"new": 1})
        if results:
            context.stage("new", lambda: 1)
        raise error

    return replace(RECIPE, run=stop)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(28, "full")])
def test_a_run_that_is_not_replaced_after_all_comes_back(begin, folder, error):
    begin()
    (folder / "mine.txt").write_text("mine")
    before = _files(folder)
    with pytest.raises(type(error)):
        begin(Config(parts=2), recipe=_stopping(error, results=False), overwrite=True)
    assert _files(folder) == before
    with pytest.raises(type(error)):
        begin(Config(parts=2), recipe=_stopping(error, results=True), overwrite=True)
    assert not (folder / "claims.json").exists()
    assert not (folder / ".replaced").exists()
    with pytest.raises(RunError, match="holds an unfinished run"):
        begin()
    assert [path.name for path in (folder / "stages").iterdir()] == ["new.safetensors"]


class _Kill(BaseException):
    pass


class _Killer:
    """Ends all from one call of the system on: before it is made or after it."""

    def __init__(self, last, first):
        self.left, self.first = last, first

    def at(self, call):
        def made(path, *args, **named):
            if str(path).endswith(".lock"):  # which goes with its process
                return call(path, *args, **named)
            if self.left == 0 and self.first:
                raise _Kill
            found = call(path, *args, **named)
            if self.left == 0:
                raise _Kill
            self.left -= 1
            return found

        return made


def _simple(config, context):
    for name in ("one", "two"):
        context.stage(name, lambda: config.parts)
    return [Claim("It is", value=config.parts, at_most=9, reference="nothing")]


@pytest.mark.parametrize(
    ("first", "every"),
    [
        (True, 4),
        pytest.param(True, 1, marks=pytest.mark.slow),
        pytest.param(False, 1, marks=pytest.mark.slow),
    ],
)
def test_a_kill_anywhere_within_overwrite_leaves_the_old_run_or_the_new(
    begin, folder, monkeypatch, first, every
):
    """Each call of the system that changes a name is the last one once; then all goes on."""
    recipe = replace(RECIPE, run=_simple)
    begin(Config(parts=2), recipe=recipe)
    (folder / "mine.txt").write_text("mine")
    (folder / "stages" / "mine.safetensors").write_text("mine")
    old, seen = _files(folder), set()
    for last in itertools.count(step=every):
        killing = _Killer(last, first)
        with monkeypatch.context() as patch:
            patch.setattr("pullback.runs._run._leave", lambda *_: None)  # the dead tidy nothing
            for name in ("replace", "unlink", "rmdir", "mkdir"):
                patch.setattr(os, name, killing.at(getattr(os, name)))
            try:
                begin(Config(parts=3), recipe=recipe, overwrite=True)
                break
            except _Kill:
                pass
        if last % 3 == 2:  # killed again while the next call restores
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", killing.at(os.replace))
                with contextlib.suppress(_Kill, RunError):
                    begin(recipe=recipe)
        with pytest.raises(RunError, match=r"holds an? (un)?finished run") as found:
            begin(recipe=recipe)
        seen.add("unfinished" in str(found.value))
        config = json.loads((folder / "config.json").read_text())["config"]
        if config["parts"] == 2:
            assert _files(folder) == old
        assert begin(Config(**config), recipe=recipe, resume=True)["config"] == config
        assert not (folder / ".replaced").exists()
        begin(Config(parts=2), recipe=recipe, overwrite=True)
        old = _files(folder)
        assert old["mine.txt"] == old["stages/mine.safetensors"] == b"mine"
    assert last > 20
    assert seen == {True, False}


def test_files_that_no_run_wrote_are_never_written_over(begin, folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("FAKE_INTERRUPT_AT", "1")
        with pytest.raises(KeyboardInterrupt):
            begin()
    for name in ("report.html", "figures/total.png", "stages/part1.safetensors"):
        names = json.loads((folder / "files.json").read_text())
        (folder / "files.json").write_text(json.dumps([each for each in names if each != name]))
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
        with pytest.raises(RunError, match=rf"{name} is there, and no run of this folder wrote it"):
            begin(resume=True)
        assert (folder / name).read_text() == "mine"
        (folder / name).unlink()
    assert len(begin(resume=True)["legs"]) > 1


@pytest.mark.parametrize("left", ["{", '["../../mine.txt"]', '["mine.txt"]', "3", "[3]", '["/x"]'])
def test_a_list_of_files_that_is_none_takes_nothing_away(begin, folder, tmp_path, left):
    begin()
    (folder / "mine.txt").write_text("mine")
    (folder / "files.json").write_text(left)
    before = _files(folder)
    for options in WAYS:
        with pytest.raises(RunError, match=r"files\.json is damaged: .*--out"):
            begin(**options)
    (folder / "files.json").unlink()
    for options in WAYS:
        with pytest.raises(RunError, match=r"no list of what it wrote, files\.json\); name"):
            begin(**options)
    before.pop("files.json")
    assert _files(folder) == before


def test_a_run_whose_folder_is_taken_away_mixes_with_no_other(begin, folder):
    others = []

    def usurped(config, context):
        context.stage("one", lambda: 1)
        shutil.rmtree(folder)
        begin(seed=2)
        others.append(_files(folder))
        return RECIPE.run(config, context)

    with pytest.raises(RunError, match="was taken away while a run was at work in it"):
        begin(recipe=replace(RECIPE, run=usurped), seed=1)
    assert _files(folder) == others[0]


def test_a_link_where_a_run_writes_is_replaced_and_not_followed(begin, folder, tmp_path):
    (tmp_path / "thesis.tex").write_text("all my work")
    begin()
    for name in ("metrics.jsonl", "config.json", "contents.json", "report.html"):
        (folder / name).unlink()
        (folder / name).symlink_to(tmp_path / "thesis.tex")
        if name == "config.json":
            with pytest.raises(RunError, match="no run of pullback"):
                begin(resume=True)
            (folder / name).unlink()
            (folder / name).write_text(json.dumps(_identity(begin, tmp_path)))
    begin(resume=True)
    assert (tmp_path / "thesis.tex").read_text() == "all my work"
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3


def _identity(begin, tmp_path):
    run(RECIPE, Config(), preset="desk", folder=tmp_path / "other")
    return json.loads((tmp_path / "other" / "config.json").read_text())


@pytest.mark.parametrize("seed", [-1, 2**63, 10**6, -(2**70)])
def test_a_seed_that_no_run_takes_is_refused_by_name(begin, folder, seed):
    with pytest.raises(
        ValueError, match=rf"--seed must be 0 or more and below 1,000,000, got {seed}"
    ):
        begin(seed=seed)
    assert not folder.exists()


def test_a_whole_number_of_numpy_is_a_seed(begin, folder):
    assert begin(seed=np.int64(3)) == json.loads((folder / "claims.json").read_text())
    assert begin(seed=3, resume=True)["seed"] == 3
    with pytest.raises(TypeError, match="--seed must be a whole number, got True"):
        begin(seed=True)


def test_a_live_run_is_neither_replaced_nor_doubled(begin, folder):
    said = []

    def other(config, context):
        for options in WAYS:
            with pytest.raises(RunError, match=rf"number {os.getpid()}\) is running in") as found:
                begin(seed=5, **options)
            said.append(str(found.value))
        return RECIPE.run(config, context)

    assert begin(recipe=replace(RECIPE, run=other), seed=1)["seed"] == 1
    assert len(said) == 3
    assert json.loads((folder / "config.json").read_text())["seed"] == 1
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_is_refused_leaves_nothing(folder, there):
    def refuse(config, context):
        context.metrics({"a": 1})
        context.note("begun")
        raise ValueError("no")

    if there:
        folder.mkdir()
    for config, message in ((Config(bound=-1.0), "bound must be finite"), (Config(), "no")):
        with pytest.raises(ValueError, match=message):
            run(replace(RECIPE, run=refuse), config, preset="desk", folder=folder)
    assert folder.exists() == there
    assert not there or list(folder.iterdir()) == []


def test_data_that_cannot_be_read_are_named(begin, folder, tmp_path, monkeypatch):
    with pytest.raises(RunError, match=r"gone\.csv cannot be read \(No such file"):
        begin(data=tmp_path / "gone.csv")
    assert not folder.exists()


DAMAGED = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[3]",
    b"3",
    b'{"recipe": 1}',
    b"[" * 100_000,
    b"{}",
    b"null",
]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: repr(text[:12]))
@pytest.mark.parametrize("name", ["config.json", "legs.json", "claims.json", "contents.json"])
def test_a_damaged_file_of_a_run_is_named_and_replaced_where_that_is_asked(
    begin, folder, tmp_path, name, text
):
    begin()
    (folder / name).write_bytes(text)
    calls = {
        "resume": lambda: begin(resume=True),
        "page": lambda: write_page(folder),
        "record": lambda: read_record(folder),
        "gallery": lambda: write_gallery(folder.parent),
    }
    hurt = {
        "config.json": {"resume"},
        "legs.json": {"resume"},
        "claims.json": {"page", "record", "gallery"},
        "contents.json": {"page", "gallery"},
    }[name]
    for what, call in calls.items():
        if what not in hurt:
            call()
            (folder / name).write_bytes(text)  # resuming makes it anew
            continue
        with pytest.raises(ValueError, match=re.escape(str(folder))) as found:
            call()
        assert len(str(found.value)) < 500
    if name == "legs.json":
        with pytest.raises(RunError, match=r"legs\.json is damaged: .*; delete it, and --resume"):
            begin(resume=True)
        (folder / name).unlink()
        assert len(begin(resume=True)["legs"]) == 1
    if name == "config.json":
        with pytest.raises(RunError, match=f"{folder} holds files, and no run"):
            begin(overwrite=True)
    else:
        assert len(begin(overwrite=True)["legs"]) == 1


def test_a_record_with_a_part_of_another_kind_is_damaged(begin, folder, tmp_path):
    record = begin()
    for key in record.keys() - {"code", "data", "commit"}:  # which may be missing, or null
        for other in (None, 3.5, True, "x", [], {}, [None]):
            if type(other) is type(record[key]):
                continue
            (folder / "claims.json").write_text(json.dumps(record | {key: other}))
            with pytest.raises(ValueError, match=rf"claims\.json is damaged: .*{key}"):
                read_record(folder)
        (folder / "claims.json").write_text(json.dumps({k: record[k] for k in record if k != key}))
        with pytest.raises(ValueError, match=r"claims\.json is damaged: "):
            read_record(folder)
    claim = record["claims"][0]
    for key in claim:
        wrong = {k: claim[k] for k in claim if k != key}
        (folder / "claims.json").write_text(json.dumps(record | {"claims": [wrong]}))
        with pytest.raises(ValueError, match=rf"claims\.json is damaged: .*{key}"):
            read_record(folder)


def test_a_page_shows_no_file_from_outside_of_the_run(begin, folder, tmp_path):
    begin()
    (tmp_path / "secret").write_text("secret")
    for file in ("../secret", str(tmp_path / "secret"), "figures/../../secret", 3):
        contents = [{"kind": "figure", "file": file, "caption": "c", "alt": ""}]
        (folder / "contents.json").write_text(json.dumps(contents))
        with pytest.raises(ValueError, match=rf"{folder}.*contents\.json is damaged: .*file"):
            write_page(folder)
    begin(resume=True)
    (folder / "figures" / "total.png").unlink()
    with pytest.raises(ValueError, match=r"total\.png: No such file .* --resume draws it again"):
        write_page(folder)


def test_a_run_says_where_it_is(tmp_path, capsys):
    def work(context, name):
        return context.stage("inner", lambda: 1) if name == "outer" else 2

    for resume in (False, True):
        context = Context(tmp_path, progress=True, resume=resume)
        context.stage("outer", work, context, "outer")
        context.training("nets")
        context.stage("last", work, context, "last")
        out, err = capsys.readouterr()
        assert out == ""
        lines = [line.split("] ", 1)[1] for line in err.splitlines()]
        assert lines == (
            ["outer: kept from before", "training of nets", "last: kept from before"]
            if resume
            else ["outer", "  inner", "training of nets", "last"]
        )
        assert all(line.startswith("[") for line in err.splitlines())
    Context(tmp_path / "quiet").stage("outer", lambda: 1)
    assert capsys.readouterr() == ("", "")
