"""The index page of many runs."""

import os
from pathlib import Path
from urllib.parse import quote

from pullback._files import atomic_write_text
from pullback.runs._page import read_json, read_record, template


def write_gallery(runs: Path, page: Path | None = None) -> Path:
    """Write an index of the finished runs under a folder: claims held, first picture, link.

    Args:
        runs: The folder under which runs are looked for, at any depth.
        page: The page to write; `index.html` in `runs` when `None`. Its links are relative.

    Returns:
        The page.

    Raises:
        ValueError: `runs` is no folder or has no run in it, or a file of a run is damaged.
    """
    page = runs / "index.html" if page is None else page
    folders = sorted(path.parent for path in runs.rglob("config.json"))
    if not folders:
        raise ValueError(f"{runs} holds no run; make one with: pullback run NAME")
    finished = [folder for folder in folders if (folder / "claims.json").exists()]
    cards = []
    for folder in finished:
        record = read_record(folder)
        files = [x["file"] for x in read_json(folder / "contents.json") if x["kind"] == "figure"]
        cards.append(
            {
                "run": record,
                "held": sum(claim["holds"] for claim in record["claims"]),
                "link": _link(folder / "report.html", page),
                "thumbnail": _link(folder / files[0], page) if files else None,
            }
        )
    unfinished = [str(folder.relative_to(runs)) for folder in folders if folder not in finished]
    text = template("_gallery.html.jinja").render(cards=cards, unfinished=unfinished)
    atomic_write_text(page, text)
    return page


def _link(target: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(target, page.parent)).as_posix())
