"""`report.html`: a run on one page that needs no other file."""

import base64
import functools
from pathlib import Path
from typing import Any

from pullback._files import atomic_write_text, printable
from pullback.runs._numbers import measured, number
from pullback.runs._records import read_contents, read_record


def write_page(folder: Path) -> Path:
    """Write `report.html` in the folder of a finished run.

    The page shows the claims first, then what the run drew, and how it was run. It is made from
    `claims.json`, `contents.json` and `figures/`, and everything in them is escaped.

    Args:
        folder: The run's folder.

    Returns:
        The page.

    Raises:
        ValueError: The folder does not hold a finished run, or one of its files is damaged.
    """
    record = read_record(folder)
    contents = read_contents(folder)
    for item in contents:
        if item["kind"] == "figure":
            item["source"] = _picture(folder / item["file"])
    page = folder / "report.html"
    held = sum(claim["holds"] for claim in record["claims"])
    text = template("_template.html.jinja").render(run=record, contents=contents, held=held)
    atomic_write_text(page, printable(text))
    return page


def _picture(path: Path) -> str:
    """A picture as an address that holds it."""
    try:
        image = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: {error.strerror}; `pullback run` with --resume draws it again"
        ) from error
    return "data:image/png;base64," + base64.b64encode(image).decode()


@functools.cache
def template(name: str) -> Any:
    """One of this room's Jinja templates; whatever it is given is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pullback.runs", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": _duration}
    environment.globals["measured"] = measured  # pyrefly: ignore
    return environment.get_template(name)


def _duration(seconds: float | int) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
