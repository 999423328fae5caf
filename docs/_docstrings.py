"""How docstrings of the library become pages: what mkdocstrings is told of a class and its text."""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import griffe

# Of these a class's fields are its arguments, as those of a dataclass are.
RECORDS = {"equinox.Module", "typing.NamedTuple"}
LIBRARIES = {"diffrax", "lineax", "optimistix"}

Names = dict[str, list[str]]


class Docstrings(griffe.Extension):
    """Examples set as code, names that lead to their pages, and signatures of all records."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        names = _public_names(pkg)
        for each in _objects(pkg):
            if each.docstring is not None:
                each.docstring.value = _page_text(each.docstring.value, each, names)
            if isinstance(each, griffe.Class) and _is_record(each):
                _make_dataclass(each)


def _objects(holder: griffe.Module | griffe.Class) -> Iterator[griffe.Object]:
    """All that a module or a class holds of its own, at any depth."""
    yield holder
    for member in holder.members.values():
        if isinstance(member, griffe.Module | griffe.Class):
            yield from _objects(member)
        elif isinstance(member, griffe.Object):
            yield member


def _public_names(package: griffe.Module) -> Names:
    """The rooms that show a name, by the name."""
    found: Names = defaultdict(list)
    for room in _objects(package):
        if not isinstance(room, griffe.Module) or not _is_room(room):
            continue
        for name, member in room.members.items():
            # A room takes its names from the files in it; one that is a file defines them.
            own = not member.is_alias or member.target_path.startswith(package.path)
            if own and member.is_alias == room.is_init_module and not name.startswith("_"):
                found[name].append(room.path)
    return found


def _is_room(module: griffe.Module) -> bool:
    """Whether strangers import it: what belongs to one paper, or to the command, they do not."""
    parts = module.path.split(".")[1:]
    inner = any(part.startswith("_") or part == "cli" for part in parts)
    return bool(parts) and not inner and (parts[0] != "recipes" or len(parts) == 1)


def _page_text(text: str, of: griffe.Object, names: Names) -> str:
    """A docstring as Markdown."""

    def link(found: re.Match[str]) -> str:
        room, name = found[1], found[2]
        rooms = names.get(name, [])
        if room:
            rooms = [each for each in rooms if each.endswith(f".{room.removeprefix('pb.')}")]
        elif len(rooms) > 1 or not re.match(r"[A-Z]|\w+_", name):
            rooms = [each for each in rooms if of.path.startswith(f"{each}.")]
        plain = not room and name in own
        return found[0] if plain or len(rooms) != 1 else f"[{found[0]}][{rooms[0]}.{name}]"

    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    # An example that stands by itself gets the heading of the others.
    text = re.sub(
        r"(?:^(?:>>>|\.\.\.) .*\n?(?:^(?!\n).+\n?)*)+",
        lambda found: "Examples:\n" + re.sub(r"^(?=.)", "    ", found[0], flags=re.MULTILINE),
        text,
        flags=re.MULTILINE,
    )
    head, examples, rest = text.partition("Examples:\n")
    own = {of.name, *of.members, *_parameters(of)}
    words = re.compile(r"`(?:((?:pb\.)?[a-z_.]+)\.)?(\w+)`")
    return words.sub(link, head) + examples + rest


def _parameters(of: griffe.Object) -> list[str]:
    return [each.name for each in of.parameters] if isinstance(of, griffe.Function) else []


def _is_record(found: griffe.Class) -> bool:
    if "__init__" in found.members:
        return False
    named = {base.canonical_path for base in found.bases if isinstance(base, griffe.Expr)}
    known = named & RECORDS or {name.partition(".")[0] for name in named} & LIBRARIES
    return bool(known) or any(map(_is_record, _classes(found)))


def _classes(found: griffe.Class) -> list[griffe.Class]:
    return [base for base in found.resolved_bases if isinstance(base, griffe.Class)]


def _make_dataclass(found: griffe.Class) -> None:
    name = griffe.ExprName("dataclasses.dataclass")
    found.decorators.append(griffe.Decorator(name, lineno=None, endlineno=None))
    for member in found.members.values():
        value = getattr(member, "value", None)
        if isinstance(value, griffe.ExprCall) and value.canonical_path == "equinox.field":
            value.function = griffe.ExprName("dataclasses.field")
