"""How long a run took: all its legs, of which it has one more each time that it is resumed."""

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pullback._files import atomic_write_text
from pullback.runs._records import read_json
from pullback.runs._written import RunError, Written

NAME = "legs.json"


@contextlib.contextmanager
def leg(written: Written) -> Iterator[list[float]]:
    """Count this leg of a run, to its end or to the error that ends it.

    A leg that was killed has written no end: it is taken to have lasted from the file that it began
    with to the last that it wrote, which is less than it did by no more than a stage or the time
    between two checkpoints; of a folder that was copied since, nothing.

    Yields:
        The seconds of the legs before this one.

    Raises:
        RunError: The file is damaged.
    """
    # Before anything of this leg is written: the newest file is of the last one.
    last = written.newest()
    path = written.claim(NAME)
    began = path.stat().st_mtime if path.exists() else None
    legs = _read(path)
    for one in legs:
        if one["seconds"] is None:
            one["seconds"] = max(0.0, last - began) if last and began else 0.0
    before = [one["seconds"] for one in legs]
    this: dict[str, Any] = {"began": time.time(), "seconds": None}
    legs.append(this)
    start = time.perf_counter()
    _write(path, legs)
    try:
        yield before
    finally:
        this["seconds"] = time.perf_counter() - start
        # Not where somebody took the folder away, or the disk is full: the run has said so.
        with contextlib.suppress(RunError, OSError):
            _write(written.claim(NAME), legs)


def _write(path: Path, legs: list[dict[str, Any]]) -> None:
    atomic_write_text(path, json.dumps(legs) + "\n")


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        legs = read_json(path)
        good = isinstance(legs, list) and all(
            isinstance(one, dict)
            and one.keys() == {"began", "seconds"}
            and _is_time(one["began"])
            and (one["seconds"] is None or _is_time(one["seconds"]))
            for one in legs
        )
        if not good:
            raise ValueError(f"{path} is damaged: it is no list of times")
    except ValueError as error:
        raise RunError(
            f"{error}; delete it, and --resume goes on without the time that it held, or replace "
            "the run with --overwrite"
        ) from error
    return legs


def _is_time(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value < math.inf
