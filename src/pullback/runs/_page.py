"""`report.html`: a run on one page that needs no other file."""

import base64
import functools
import json
from pathlib import Path
from typing import Any

from pullback._files import atomic_write_text
from pullback.runs._numbers import measured, number


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
    contents = read_json(folder / "contents.json")
    for item in contents:
        if item["kind"] == "figure":
            image = (folder / item["file"]).read_bytes()
            item["source"] = "data:image/png;base64," + base64.b64encode(image).decode()
    page = folder / "report.html"
    held = sum(claim["holds"] for claim in record["claims"])
    text = template("_template.html.jinja").render(run=record, contents=contents, held=held)
    atomic_write_text(page, text)
    return page


def read_record(path: Path) -> dict[str, Any]:
    """What a finished run measured and with what.

    Args:
        path: The run's folder, or its `claims.json`, or a recorded result.

    Raises:
        ValueError: There is no finished run, or the file is damaged.
    """
    path = path / "claims.json" if path.is_dir() else path
    record = read_json(path)
    if not isinstance(record, dict) or not {"recipe", "preset", "claims"} <= set(record):
        raise ValueError(f"{path} is not the record of a run")
    return record


def read_json(path: Path) -> Any:
    """What a run wrote in a JSON file, or a ValueError that says what is wrong with it."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"no finished run here: {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


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
