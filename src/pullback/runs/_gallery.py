"""The index page of many runs, and of fits of the user's own data."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pullback._files import atomic_write_text
from pullback.runs._page import template
from pullback.runs._records import read_contents, read_identity, read_json, read_record
from pullback.runs._written import is_aside


def write_gallery(runs: Path, page: Path | None = None) -> Path:
    """Write an index of the finished runs under a folder: claims held, first picture, link.

    Saved models that have a report, as `pullback fit` leaves them, stand in a part of their own.

    Args:
        runs: The folder under which runs are looked for, at any depth.
        page: The page to write; `index.html` in `runs` when `None`. Its links are relative.

    Returns:
        The page.

    Raises:
        ValueError: `runs` is no folder or has no run or fit in it, or a file of one is damaged.
    """
    page = runs / "index.html" if page is None else page
    # Other programs have a `config.json` too.
    folders = [
        path.parent
        for path in sorted(runs.rglob("config.json"))
        if not is_aside(path.relative_to(runs))
        and ((path.parent / "claims.json").exists() or read_identity(path.parent))
    ]
    fits = [_fit(file, page) for file in sorted(runs.rglob("model.json"))]
    if not folders and not fits:
        raise ValueError(
            f"{runs} holds no run; make one with: pullback run NAME, or pullback fit TASK FILE"
        )
    finished = [folder for folder in folders if (folder / "claims.json").exists()]
    cards = []
    for folder in finished:
        record = read_record(folder)
        files = [item["file"] for item in read_contents(folder) if item["kind"] == "figure"]
        cards.append(
            {
                "run": record,
                "held": sum(claim["holds"] for claim in record["claims"]),
                "link": _link(folder / "report.html", page),
                "thumbnail": _link(folder / files[0], page) if files else None,
            }
        )
    unfinished = [str(folder.relative_to(runs)) for folder in folders if folder not in finished]
    text = template("_gallery.html.jinja").render(cards=cards, fits=fits, unfinished=unfinished)
    atomic_write_text(page, text)
    return page


def _fit(file: Path, page: Path) -> dict[str, Any]:
    """What a saved model says of itself."""
    record = read_json(file)
    try:
        found = {"task": record["task"], "source": record["fitted"]["data_"]["source"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged, or of another version: {error}") from error
    report = file.with_name("report.html")
    name = os.path.relpath(file.parent, page.parent)
    return {**found, "name": name, "link": _link(report, page) if report.exists() else None}


def _link(target: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(target, page.parent)).as_posix())
