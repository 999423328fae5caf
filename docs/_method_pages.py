"""The pages of the methods: one for each paper, from its recipe, its results and a text by hand."""

import ast
import html
from pathlib import Path

from _page import ROOT
from _verdicts import Result, worst
from make_reproduction import section, text
from PIL import Image

from pullback.recipes import Paper, papers

OWN = ROOT / "docs" / "methods"
IMAGES = ROOT / "docs" / "images"


def pages(results: list[Result]) -> dict[str, str]:
    """The text of each page by its path on the site, and a page of contents."""
    known, of = papers(), _by_paper(results)
    found = {f"methods/{name}.md": _page(paper, of[name]) for name, paper in known.items()}
    return {"methods/index.md": _contents(known, of)} | found


def gallery(results: list[Result]) -> str:
    """The page of all pictures that recorded runs drew."""
    of = _by_paper(results)
    cards = []
    for name, paper in papers().items():
        path = _picture_of(of[name])
        if path is not None:
            _, alt = _told(path)
            cards.append(
                f'<a href="methods/{name}.html"><img src="images/methods/{path.name}" '
                f'alt="{html.escape(alt)}" loading="lazy"><strong>{name}</strong> '
                f"{html.escape(paper.summary)} <em>{verdict(of[name])}</em></a>"
            )
    lines = ["# Gallery", "", "What recorded runs of the recipes drew; each leads to its method."]
    return "\n".join([*lines, "", '<div class="gallery">', *cards, "</div>", ""])


def _by_paper(results: list[Result]) -> dict[str, list[Result]]:
    return {name: [each for each in results if each.paper == name] for name in papers()}


def verdict(results: list[Result]) -> str:
    """The worst verdict of a paper's headline, over all its results."""
    return worst(told for result in results for _, told in result.headlines())


def _contents(known: dict[str, Paper], of: dict[str, list[Result]]) -> str:
    lines = [
        "# Methods", "",
        "A page for each paper: what its method is for, how it is used, and what its recipe "
        "measured. The verdicts are those of [Reproduction](../reproduction.md).", "",
        "| method | what is measured | year | verdict |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, paper in known.items():
        cells = [text(paper.summary), str(paper.year), verdict(of[name])]
        lines.append(f"| [{name}]({name}.md) | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _page(paper: Paper, results: list[Result]) -> str:
    own = OWN / f"{paper.name}.md"
    address = f"https://arxiv.org/abs/{paper.arxiv}"
    authors = ", ".join(paper.authors)
    lines = [
        f"# {paper.name}", "", text(paper.summary), "",
        f"[{text(paper.title)}]({address}), {text(authors)}, {paper.year}. "
        f"Verdict: **{verdict(results)}**.", "",
        *([own.read_text().strip(), ""] if own.exists() else []),
        *_picture(results),
    ]  # fmt: skip
    if paper.headline is not None:
        told = paper.headline
        lines += ["## What the paper is known for", "", text(told.says), "", text(told.figure), ""]
        if told.reason:
            lines += [f"Of this verdict, {verdict(results)}: {text(told.reason)}", ""]
    lines += ["## The experiment", "", _docstring(paper), "", "```sh", f"pullback run {paper.name}"]
    lines += [f"pullback run {paper.name}/{each} --data DIR" for each in paper.data]
    lines += [f"pullback {paper.task}" for _ in range(paper.task is not None)]
    lines += ["```", ""]
    if results:
        lines += ["## What was measured", ""]
        # Of the headings of that page one level down.
        lines += [section(each).replace("## ", "### ", 1) for each in results]
    lines += ["## Cite", "", "```bibtex", paper.bibtex, "```", ""]
    return "\n".join(lines)


def _docstring(paper: Paper) -> str:
    """The experiment in words: the docstring of the recipe, without importing it."""
    folder = ROOT / "src" / Path(*paper.module.split("."))
    tree = ast.parse((folder / "__init__.py").read_text())
    return (ast.get_docstring(tree) or "").replace("\\", "\\\\")


def _picture(results: list[Result]) -> list[str]:
    """What a recorded run drew, with its caption."""
    path = _picture_of(results)
    if path is None:
        return []
    caption, alt = _told(path)
    return [f"![{text(alt)}](../images/methods/{path.name})", "", f"*{text(caption)}*", ""]


def _picture_of(results: list[Result]) -> Path | None:
    """The first that `docs/keep_picture.py` kept of some results."""
    paths = (IMAGES / "methods" / f"{result.name}.png" for result in results)
    return next(filter(Path.exists, paths), None)


def _told(path: Path) -> tuple[str, str]:
    with Image.open(path) as image:
        return image.info["Caption"], image.info["Alt"]
