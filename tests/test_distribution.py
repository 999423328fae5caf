"""What is handed out: the wheel and the source archive, and that they say one version."""

import re
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import pullback
from walk_readme import LEFT_OUT, steps

ROOT = Path(__file__).parent.parent


def test_the_version_is_that_of_the_citation_and_of_the_changelog():
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    released = re.findall(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/pullback/__init__.py"
    assert citation is not None
    assert citation[1] == released[0] == pullback.__version__


def test_what_a_walk_leaves_out_is_in_the_readme():
    told = [text for _, text in steps((ROOT / "README.md").read_text())]
    assert set(LEFT_OUT) <= set(told)
    assert any(text.startswith("pip install") for text in told)


@pytest.mark.slow
def test_wheel_and_source_archive_are_built_and_the_wheel_runs_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    (archive,) = tmp_path.glob("*.tar.gz")
    assert pullback.__version__ in wheel.name
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    for name in ("py.typed", "recipes/relax/paper.toml", "tasks/_report.html.jinja"):
        assert f"pullback/{name}" in names
    assert not [name for name in names if "tests/" in name or "docs/" in name]
    with tarfile.open(archive) as packed:
        assert any(name.endswith("tests/test_distribution.py") for name in packed.getnames())
    # What it depends on is that of this environment: installing it is for `make walk`.
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True)
    (own,) = environment.glob("lib/*/site-packages")
    (own / "depends.pth").write_text("\n".join(site.getsitepackages()))
    shown = subprocess.run(
        [environment / "bin" / "pullback", "cite", "relax"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "@" in shown.stdout
    where = subprocess.run(
        [python, "-c", "import pullback; print(pullback.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(environment))
