"""`pullback record` and `pullback gallery`: what is kept of finished runs."""

import json
import re
from pathlib import Path
from typing import Annotated

import tyro

from pullback import runs
from pullback._files import atomic_write_text
from pullback.cli._common import BadUsage, OptionalPath, written
from pullback.runs import write_gallery

# Presets that may be recorded under the recipe's name, and what the name of the result ends in.
_ENDINGS = {"desk": "", "long": "-long"}


def gallery(runs: Path = Path("runs"), out: OptionalPath = None) -> int:
    """Write an index page of the finished runs.

    Args:
        runs: The folder under which the runs lie.
        out: The page to write (default: index.html in that folder).
    """
    try:
        with written(out or runs, "--out"):
            print(f"gallery: {write_gallery(runs, out)}")
    except ValueError as error:
        raise BadUsage(str(error)) from error
    return 0


def record_run(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_FOLDER")],
    results: Path = Path("results"),
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None,
) -> int:
    """Keep the claims of a finished desk or long run as a result, for docs/reproduction.md.

    Args:
        folder: The run's folder.
        results: The folder of results.
        name: The result's name, when not the recipe's (and "long", of that preset); needed for a
            run of another preset, and where a setting was changed.
    """
    try:
        record = runs.read_record(folder)
    except ValueError as error:
        raise BadUsage(str(error)) from error
    if record["preset"] == "smoke":
        raise BadUsage(
            f"{folder} is a smoke run, which only shows that all runs: its figures mean nothing; "
            "record one of the desk preset"
        )
    plain = record["preset"] in _ENDINGS and not record["changed"]
    if name is None and not plain:
        raise BadUsage(
            f"{folder} is not a run of the desk or the long preset as it stands "
            f"(preset {record['preset']}, "
            f"changed: {', '.join(record['changed']) or 'nothing'}); give the result its own --name"
        )
    if name is None:
        name = str(record["recipe"]).replace("/", "-") + _ENDINGS[record["preset"]]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise BadUsage(f"--name {name!r} is no file name; use letters, digits, '.', '_' and '-'")
    path = results / f"{name}.json"
    with written(results, "--results"):
        atomic_write_text(path, json.dumps(record, indent=2) + "\n")
    print(f"recorded: {path}")
    return 0
