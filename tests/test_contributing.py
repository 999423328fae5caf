"""The pages for contributors: their worked recipe runs by the command, and what they say is so."""

import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import pullback.recipes
from pullback import cli
from pullback._promotion import standard_promotion
from pullback.recipes import _papers, papers
from pullback.runs import read_record

ROOT = Path(__file__).parent.parent
PAGES = {path.stem: path.read_text() for path in (ROOT / "docs" / "contributing").glob("*.md")}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The recipe of the page, where recipes are looked for."""
    folder = tmp_path / "recipes" / "mirror"
    folder.mkdir(parents=True)
    for language, file in (("toml", "paper.toml"), ("python", "__init__.py")):
        (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGES["add-a-recipe"], re.M | re.S)
        (folder / file).write_text(block)
    monkeypatch.setattr(_papers, "__file__", str(folder.parent / "_papers.py"))
    path = [*pullback.recipes.__path__, str(folder.parent)]
    monkeypatch.setattr(pullback.recipes, "__path__", path)
    papers.cache_clear()
    yield
    papers.cache_clear()


def test_the_recipe_of_the_page_is_listed_cited_run_and_resumed(mirror, tmp_path, capsys):
    assert cli.main(["list"]) == 0
    assert "mirror" in capsys.readouterr().out
    assert cli.main(["cite", "mirror"]) == 0
    assert "Draws and Their Mirror Images" in capsys.readouterr().out
    words = ["run", "mirror", "--preset", "smoke", "--out", str(tmp_path / "run"), "--no-progress"]
    with standard_promotion():
        assert cli.main(words) == 0
        first = read_record(tmp_path / "run")
        assert cli.main([*words, "--resume"]) == 0
    (claim,) = read_record(tmp_path / "run")["claims"]
    assert [claim] == first["claims"]
    assert claim["value"] == pytest.approx(4.52, abs=0.3)
    assert (tmp_path / "run" / "figures" / "variances.png").exists()
    assert cli.main([*words[:5], str(tmp_path / "small"), "--draws", "1"]) == 2
    assert "draws >= 2, got 2 and 1" in capsys.readouterr().err


def test_the_floors_of_the_page_are_those_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (each["layers"] for each in contracts["contracts"] if "containers" not in each
                 and each["type"] == "layers")  # fmt: skip
    rooms = [[name.strip().removeprefix("pullback.") for name in layer.split("|")]
             for layer in layers]  # fmt: skip
    public = [floor for floor in rooms if not floor[0].startswith("_")]
    table = PAGES["house"].partition("## The rules")[0]
    told = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| (`[^|]*) \|", table, re.M)]
    assert [sorted(floor) for floor in told] == [sorted(floor) for floor in public]


def python_commands():
    texts = [*PAGES.values(), (ROOT / "CONTRIBUTING.md").read_text()]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return sorted({line for line in lines if line.startswith("python ")})


@pytest.mark.parametrize("command", python_commands())
def test_scripts_that_the_pages_run_have_the_flags_and_names(command):
    _, script, *words = shlex.split(command)
    if script == "-m":
        return
    shared = ROOT / "docs" / "_page.py"
    source = (ROOT / script).read_text() + (shared.read_text() if script[:5] == "docs/" else "")
    for word, before in itertools.pairwise([*reversed(words), ""]):
        if word.startswith("--"):
            assert f'"{word}"' in source
        elif before != "--minutes" and script.startswith("docs/"):
            assert (ROOT / "results" / f"{word}.json").exists()
    assert len(python_commands()) > 4


def test_the_page_for_contributors_leads_to_all_of_them():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    linked = re.findall(r"\]\(docs/contributing/([\w-]+)\.md\)", page)
    assert sorted(linked) == sorted(PAGES)
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (ROOT / target).exists()
