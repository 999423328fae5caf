"""Write the pages of the site and its menu into site/, from which `make docs` builds it.

What stands in docs/ goes in as it is; the README is the home page. Made here are a page for each
room, for each method, and the gallery. Nothing in site/ is edited by hand, nor kept by git.
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

import _api_pages
import _method_pages
from _page import ROOT
from _verdicts import results_in

from pullback.tasks._words import WORDS

DOCS = ROOT / "docs"
# What stands in docs/, by the part of the menu; where nothing is found there is no such part.
MENU = {
    "Guides": ("guides/*.md",),
    "Composing": ("composing.md",),
    "Coming from": ("coming-from.md",),
    "Choosing": ("choosing.md", "rooms.md", "choosing/*.md", "distributions.md"),
    "Evidence": ("tasks.md", "benchmarks.md", "reproduction.md", "reliability.md"),
    "Contributing": ("contributing/house.md", "extending.md", "contributing/*.md"),
}
ORDER = (
    "Guides", "Methods", "Composing", "Coming from", "Choosing", "Evidence", "API", "Gallery",
    "Contributing",
)  # fmt: skip
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
    made["CHANGELOG.md"] = (ROOT / "CHANGELOG.md").read_text()  # the home page speaks of it
    menu: dict[str, list[str]] = {}
    for title, patterns in MENU.items():
        paths = [path for each in patterns for path in sorted(DOCS.glob(each))]
        found = {str(path.relative_to(DOCS)): path.read_text() for path in paths}
        index = f"{patterns[0].partition('/')[0]}/index.md"
        if found and "*" in patterns[0] and index not in found:
            found = {index: contents(title, found)} | found
        made |= found
        menu[title] = list(found)
    menu["Contributing"].append("CHANGELOG.md")
    results = results_in(ROOT / "results")
    methods, rooms = _method_pages.pages(results), _api_pages.pages()
    made["guides/glossary.md"] += words_of_reports()
    made |= methods | rooms | {"gallery.md": _method_pages.gallery(results)}
    menu |= {"Methods": list(methods), "API": list(rooms), "Gallery": ["gallery.md"]}
    names = _api_pages.addresses()
    pages = out / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    for name, text in made.items():
        path = pages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(linked(text, names))
    shutil.copytree(DOCS / "images", pages / "images")
    shutil.copytree(DOCS / "site", pages / "assets")
    entries = [{"Home": "index.md"}, *({each: menu[each]} for each in ORDER if menu[each])]
    (out / "mkdocs.yml").write_text(f"{HEAD}nav: {json.dumps(entries, indent=2)}\n")


def home(readme: str) -> str:
    """The README, whose links begin in docs/ and not above it."""
    return re.sub(r"\]\(docs/", "](", readme)


def words_of_reports() -> str:
    """The glossary of the reports of tasks, as a part of the glossary."""
    rows = [f"| {word} | {told.rstrip('.')} |" for word, told in sorted(WORDS.items())]
    head = ["", "## Words of reports", "", "| word | what it means |", "|---|---|"]
    return "\n".join([*head, *rows, ""])


def contents(title: str, pages: dict[str, str]) -> str:
    """A list of the pages of a folder: the heading of each, and its first sentence."""
    lines = [f"# {title}", ""]
    for name, page in pages.items():
        heading, _, rest = page.partition("\n")
        paragraph = " ".join(rest.strip().partition("\n\n")[0].split())
        sentence = re.match(r"(?![`!|]).+?[.:](?= [A-Z]|$)", paragraph)
        told = f": {sentence[0].rstrip(':.')}." if sentence else ""
        lines.append(f"- [{heading.lstrip('# ')}]({Path(name).name}){told}")
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
