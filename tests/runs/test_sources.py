"""A record knows the sources that it is of, and no change that changes nothing."""

import importlib
import subprocess

import pytest

from pullback.runs import sources_digest
from pullback.runs._sources import commit, plain_source

FILES = {
    "__init__.py": "",
    "_kit/__init__.py": "",
    "_kit/shared.py": "SHARED = 1\n",
    "_kit/other.py": "OTHER = 1\n",
    "one/__init__.py": (
        '"""One."""\nfrom house.papers._kit.shared import SHARED\n'
        "from house.papers.one import models, show\n\n"
        "def run(config, context):\n    return []  # nothing\n"
    ),
    "one/models.py": "import house.tools\nSIZE = 3\n",
    "one/show.py": "WIDTH = 3\n",
    "one/mnist.py": "from house.papers.one.models import SIZE\ndef run(config, context): ...\n",
}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The digest of an experiment of a package, after files of it were changed."""
    for name, text in {**{f"papers/{n}": t for n, t in FILES.items()}, "tools.py": "T = 1\n",
                       "__init__.py": ""}.items():  # fmt: skip
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    def digest(module="one", changed=None):
        for name, text in (changed or {}).items():
            (tmp_path / "house" / name).write_text(text)
        return sources_digest(f"house.papers.{module}")

    return digest


def test_what_an_experiment_imports_of_its_floor_is_in_its_digest(house):
    first, other = house(), house("one.mnist")
    assert len(first) == 16
    assert first != other
    for name, text in (
        ("papers/one/show.py", "WIDTH = 4\n"),
        ("papers/_kit/other.py", "OTHER = 2\n"),
        ("tools.py", "T = 2\n"),
        ("papers/_kit/shared.py", "# One, as always.\nSHARED = 1\n"),
    ):
        assert house(changed={name: text}) == first
    assert house("one.mnist", {"papers/_kit/shared.py": "SHARED = 2\n"}) == other
    second = house()
    assert second != first
    assert house(changed={"papers/one/models.py": "SIZE = 4\n"}) != second
    assert house("one.mnist") != other


def test_words_and_blank_lines_are_no_source():
    text = FILES["one/__init__.py"]
    assert plain_source(text.replace("# nothing", "# much").replace("One.", "A.\n\nB")) == (
        plain_source(text)
    )
    assert plain_source("x = 'a # b'\n") == "x = 'a # b'"
    assert plain_source("x = 1  # é\ny = '''é\n# kept\n'''\n") == ("x = 1\ny = '''é\n# kept\n'''")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1\n", "x = 2\n"),
        ("for i in x:\n    a()\n    b()\n", "for i in x:\n    a()\nb()\n"),
        ("def f():\n    return\n    x\n", "def f():\n    return x\n"),
        ("x = 'a b'\n", "x = 'ab'\n"),
        ("'doc'; y = 2\n", "'doc'; y = 3\n"),
        ("class A: 'doc'\n", "class B: 'doc'\n"),
    ],
)
def test_what_runs_otherwise_has_another_source(one, other):
    assert plain_source(one) != plain_source(other)


def test_a_module_without_a_package_is_all_of_its_sources():
    digests = [sources_digest("fake_recipe"), sources_digest("conftest")]
    assert len(set(digests)) == 2


def test_the_commit_is_of_tracked_files_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("pullback.runs._sources._PACKAGE", tmp_path)
    assert commit() is None
    (tmp_path / "__init__.py").write_text("")
    git = lambda *words: subprocess.run(
        ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words],
        check=True, capture_output=True,
    )  # fmt: skip
    git("init")
    git("commit", "--allow-empty", "-m", "first")
    assert commit() is None  # as of a package in an environment within somebody's repository
    git("add", "__init__.py")
    git("commit", "-m", "second")
    clean = commit()
    assert clean is not None
    assert len(clean) == 12
    for name in ("new.py", "__init__.py"):
        (tmp_path / name).write_text("x = 1\n")
        assert commit() == f"{clean}-dirty"
        (tmp_path / "new.py").unlink(missing_ok=True)
