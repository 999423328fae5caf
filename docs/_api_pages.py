"""The pages of the reference: one for each room, with every name that it shows."""

import hashlib
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

from _page import ROOT

import pullback

SOURCES = ROOT / "src"
# Where what a room passes on from another library is documented.
ELSEWHERE = {"diffrax": ("Diffrax", "https://docs.kidger.site/diffrax/")}


def pages() -> dict[str, str]:
    """The text of each page by its path on the site, and a page of contents."""
    rooms = _rooms()
    lines = ["# API reference", "", "| room | what it holds |", "|---|---|"]
    lines += [f"| [`{name}`]({_file(name)}) | {_sentence(room)} |" for name, room in rooms.items()]
    found = {f"api/{_file(name)}": _page(name, room) for name, room in rooms.items()}
    return {"api/index.md": "\n".join([*lines, ""])} | found


def addresses() -> dict[str, str]:
    """The anchor of each documented name, by how it is written after `pb.`."""
    found = {}
    for name, room in _rooms().items():
        for each in [name, *(f"{name}.{own}" for own in _own(room))]:
            found[each.removeprefix("pullback.")] = each
    return found


def _rooms() -> dict[str, ModuleType]:
    """The rooms by their full names, those of other rooms after them."""
    found: dict[str, ModuleType] = {}
    waiting = [f"pullback.{name}" for name in dir(pullback) if not name.startswith("__")]
    while waiting:
        name = waiting.pop(0)
        found[name] = room = importlib.import_module(name)
        waiting[:0] = [f"{name}.{each}" for each in _inner(room)]
    return found


def _shown(room: ModuleType) -> list[str]:
    """What a room shows; of a room that is one file, what it defines."""
    defined = [each for each, value in vars(room).items() if _module(value) == room.__name__]
    return getattr(room, "__all__", [each for each in defined if not each.startswith("_")])


def _inner(room: ModuleType) -> list[str]:
    """The rooms in a room; what belongs to one paper is no room."""
    papers = room.__name__ == "pullback.recipes"
    return [each for each in _shown(room) if inspect.ismodule(getattr(room, each)) and not papers]


def _page(name: str, room: ModuleType) -> str:
    inner, own = _inner(room), _own(room)
    lines = [f"# {name}", "", f"::: {name}", "    options:"]
    lines += ["      members: []", "      show_root_heading: false", ""]
    if inner:
        links = [f"[`{name}.{each}`]({_file(f'{name}.{each}')})" for each in inner]
        lines += [f"Rooms in it: {', '.join(links)}.", ""]
    for library, (title, address) in ELSEWHERE.items():
        names = [f"`{each}`" for each in _shown(room) if _library(getattr(room, each)) == library]
        if names:
            lines += [f"Passed on from [{title}]({address}) as they are: {', '.join(names)}.", ""]
    lines += ["| name | what it is |", "|---|---|"]
    lines += [f"| [`{each}`][{name}.{each}] | {_sentence(getattr(room, each))} |" for each in own]
    lines.append("")
    for each in own:
        lines += [f"::: {name}.{each}"]
        if not _is_defined(getattr(room, each)):
            lines += ["    options:", "      show_if_no_docstring: true"]
        lines.append("")
    # The pages of a build are kept, and made anew when their text changes.
    return "\n".join([*lines, f"<!-- sources {_digest(room)} -->", ""])


def _own(room: ModuleType) -> list[str]:
    """The names that a room shows and that are the library's own, in the order of the alphabet."""
    kept = [
        each
        for each in _shown(room)
        if not inspect.ismodule(value := getattr(room, each)) and _library(value) not in ELSEWHERE
    ]
    return sorted(kept, key=str.lower)


def _library(value: object) -> str:
    return _module(value).partition(".")[0]


def _module(value: object) -> str:
    """Where a class or a function is from; nothing of anything else."""
    return str(value.__module__) if _is_defined(value) else ""


def _is_defined(value: object) -> bool:
    """Whether it is a class or a function, which has a docstring of its own."""
    return inspect.isclass(value) or inspect.isroutine(value)


def _sentence(value: object) -> str:
    """The first line of a docstring, as the cell of a table."""
    told = inspect.getdoc(value) if inspect.ismodule(value) or _is_defined(value) else None
    line = (told or "").partition("\n")[0].rstrip(":,")
    return re.sub(r"(?<!\\)\|", r"\\|", line)


def _file(room: str) -> str:
    return room.removeprefix("pullback.").replace(".", "-") + ".md"


def _digest(room: ModuleType) -> str:
    """Of the sources that a page is made from."""
    here = Path(str(room.__file__))
    files = sorted(here.parent.rglob("*.py")) if here.name == "__init__.py" else [here]
    files.append(ROOT / "docs" / "_docstrings.py")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
