"""Importing pullback is free, and what it says of itself agrees with pyproject.toml."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pullback as pb

ROOT = Path(__file__).parent.parent


def test_import_loads_neither_jax_nor_matplotlib():
    heavy = "{'jax', 'numpy', 'matplotlib', 'equinox'}"
    code = f"import sys, pullback; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_that_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pb.__version__ == project["version"]


def test_every_folder_is_a_room_and_is_imported_when_used():
    folders = {path.parent.name for path in (ROOT / "src" / "pullback").glob("*/__init__.py")}
    rooms = set(dir(pb)) - {"__version__"}
    assert rooms == folders
    for room in rooms:
        assert getattr(pb, room).__name__ == f"pullback.{room}"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'attic'"):
        pb.attic  # noqa: B018
