"""Importing pullback is free, and what it says of itself agrees with pyproject.toml."""

import ast
import importlib
import inspect
import pydoc
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import pullback as pb

ROOT = Path(__file__).parent.parent


def test_import_loads_neither_jax_nor_matplotlib():
    heavy = "{'jax', 'numpy', 'matplotlib', 'equinox'}"
    code = f"import sys, pullback; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_flowjax_is_loaded_where_it_is_used_alone():
    code = "import sys, pullback.models.flows, pullback.tasks; print('flowjax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_import_of_the_library_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split("[<>=]", line)[0] for line in project["dependencies"]}
    nodes = [
        node
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
    ]
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    foreign = {name.split(".")[0] for name in named} - sys.stdlib_module_names - {"pullback"}
    givers = packages_distributions()
    assert "scipy" in foreign
    assert not {name for name in foreign if not declared & {d.lower() for d in givers[name]}}


def test_types_are_shipped():
    assert (ROOT / "src" / "pullback" / "py.typed").exists()


def test_every_folder_is_a_room_and_is_imported_when_used():
    folders = {path.parent.name for path in (ROOT / "src" / "pullback").glob("*/__init__.py")}
    rooms = set(dir(pb)) - {"__version__"}
    assert rooms == folders - {"cli"}  # the command, which nobody imports
    for room in rooms:
        assert getattr(pb, room).__name__ == f"pullback.{room}"


# The rooms and their rooms; a recipe is none, nor is the command.
ROOMS = sorted(
    ".".join(("pullback", *path.parent.relative_to(ROOT / "src" / "pullback").parts))
    for path in (ROOT / "src" / "pullback").glob("**/__init__.py")
    if path.parent.name not in ("pullback", "cli") and path.parent.parent.name != "recipes"
)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_shows_its_public_names_and_nothing_else(name):
    room = importlib.import_module(name)
    if name == "pullback.recipes":  # whose papers are imported one by one, as they are asked for
        papers = room.papers()
        assert not set(dir(room)) & {paper.replace("-", "_") for paper in papers}
        return
    own = lambda each: not inspect.ismodule(each) or each.__name__.startswith(f"{name}.")
    names = {each for each in vars(room) if not each.startswith("_") and own(getattr(room, each))}
    assert set(dir(room)) == set(room.__all__) == names
    page = pydoc.plain(pydoc.render_doc(room))
    # The files of a package are listed by Python itself, whatever the package says.
    shown, _, rest = page.partition("PACKAGE CONTENTS")
    shown += rest.partition("\n\n")[2]
    defined = {each for each in names if not inspect.ismodule(getattr(room, each))}
    assert all(re.search(rf"\b{each}\b", shown) for each in defined)
    headings = re.findall(r"^    (?:class )?(\w+)(?:\(| = )", shown, flags=re.MULTILINE)
    assert not [each for each in headings if each.startswith("_")]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'attic'"):
        pb.attic  # noqa: B018
