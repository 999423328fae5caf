"""The index page of many runs, and of fits of the user's own data."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pullback._files import atomic_write_text, printable
from pullback._saved import ARCHIVE, REPORT, record_of
from pullback.runs._page import template
from pullback.runs._records import read_contents, read_identity, read_record
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
    saved = [(file.parent, record_of(file.parent)) for file in sorted(runs.rglob(ARCHIVE))]
    fits = [_fit(folder, record, page) for folder, record in saved if record is not None]
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
    atomic_write_text(page, printable(text))
    return page


def _fit(folder: Path, record: dict[str, Any], page: Path) -> dict[str, Any]:
    """What a saved model says of itself."""
    try:
        found = {"task": record["task"], "source": record["fitted"]["data_"]["source"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / ARCHIVE} is of another version: {error}") from error
    report = folder / REPORT
    name = os.path.relpath(folder, page.parent)
    return {**found, "name": name, "link": _link(report, page) if report.exists() else None}


def _link(target: Path, page: Path) -> str:
    return quote(os.fsencode(Path(os.path.relpath(target, page.parent)).as_posix()))
