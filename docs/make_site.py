"""Write the pages of the site and its menu into site/, from which `make docs` builds it.

What stands in docs/ goes in as it is; the README is the home page. Made here are a page for each
room, for each method, and the gallery. Nothing in site/ is edited by hand, nor kept by git.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import _api_pages
import _method_pages
from _page import ROOT
from _verdicts import results_in

DOCS = ROOT / "docs"
# Folders of pages written by hand, each a part of the menu, in the order of `index.md` or of names.
FOLDERS = {"Guides": "guides", "Composing": "composing", "Coming from": "coming-from"}
# Pages written by hand or by a script, one a file.
SINGLE = {
    "Choosing": ("choosing.md", "distributions.md", "extending.md"),
    "Evidence": ("tasks.md", "benchmarks.md", "reproduction.md", "reliability.md"),
}
HEAD = "INHERIT: ../mkdocs.yml\ndocs_dir: pages\nsite_dir: html\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make_site.py", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "site")
    out = parser.parse_args(argv).out
    write(out)
    return 0


def write(out: Path) -> None:
    """Write all pages, and `mkdocs.yml` with the menu, into a folder."""
    made = {"index.md": home((ROOT / "README.md").read_text())}
    menu: list[tuple[str, list[str]]] = []
    for title, folder in FOLDERS.items():
        found = sorted(path.name for path in (DOCS / folder).glob("*.md"))
        if found:
            made |= {f"{folder}/{name}": (DOCS / folder / name).read_text() for name in found}
            made.setdefault(f"{folder}/index.md", contents(title, DOCS / folder, found))
            menu.append((title, [f"{folder}/{name}" for name in first("index.md", found)]))
    made |= {name: (DOCS / name).read_text() for names in SINGLE.values() for name in names}
    results = results_in(ROOT / "results")
    methods, gallery = _method_pages.pages(results), _method_pages.gallery(results)
    rooms = _api_pages.pages()
    menu += [("Methods", first("methods/index.md", methods)), *SINGLE.items()]
    menu += [("API", first("api/index.md", rooms)), ("Gallery", ["gallery.md"])]
    made |= methods | rooms | {"gallery.md": gallery}
    names = _api_pages.addresses()
    pages = out / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    for name, text in made.items():
        path = pages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(linked(text, names))
    shutil.copytree(DOCS / "images", pages / "images")
    shutil.copytree(DOCS / "site", pages / "assets")
    entries = [{"Home": "index.md"}, *({title: names} for title, names in menu)]
    (out / "mkdocs.yml").write_text(f"{HEAD}nav: {json.dumps(entries, indent=2)}\n")


def first(index: str, names: Iterable[str]) -> list[str]:
    """The names, with that of the page of contents before the others."""
    return [index, *(name for name in names if name != index)]


def home(readme: str) -> str:
    """The README, whose links begin in docs/ and not above it."""
    return re.sub(r"\]\(docs/", "](", readme)


def contents(title: str, folder: Path, names: list[str]) -> str:
    """A list of the pages of a folder: the heading of each, and its first sentence."""
    lines = [f"# {title}", ""]
    for name in names:
        heading, _, rest = (folder / name).read_text().partition("\n")
        sentence = " ".join(rest.strip().split("\n\n")[0].split())
        lines.append(f"- [{heading.lstrip('# ')}]({name}): {sentence}")
    return "\n".join([*lines, ""])


def linked(page: str, addresses: dict[str, str]) -> str:
    """A page whose `pb.room.Name` lead to where that is documented; blocks of code stay."""

    def link(found: re.Match[str]) -> str:
        address = addresses.get(found[1])
        return f"[{found[0]}][{address}]" if address else found[0]

    parts = re.split(r"(^```.*?^```$)", page, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [re.sub(r"(?<!\[)`pb\.([\w.]+)`", link, part) for part in parts[::2]]
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(main())
