"""Whose the files in a folder are where a model is to be saved: a model's, or anybody's."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ARCHIVE = "model.safetensors"
COPY = "model.json"
REPORT = "report.html"
# What a fit writes beside its model, in its folder and nowhere else.
_BESIDE = (ARCHIVE, COPY, "suspects.csv", "scores.csv")
# A line near the top of each page of a task; a run's page has none.
_MARK = b'<meta name="generator" content="pullback fit">'


def record_of(folder: Path) -> dict[str, Any] | None:
    """What the model that is saved in a folder says of itself; None where there is none.

    Raises:
        ArchiveError: there is one, and it is damaged.
    """
    from pullback._archive import ArchiveError, read_record  # with NumPy, which listing needs not

    try:
        record = read_record(folder / ARCHIVE)
    except ArchiveError:
        if os.path.exists(folder / ARCHIVE) and _is_ours(_copy_of(folder)):
            raise
        return None
    return record if _is_ours(record) else None


def is_page(page: Path) -> bool:
    """Whether a file is a page that a task wrote."""
    try:
        with page.open("rb") as file:
            return _MARK in file.read(1000)
    except (OSError, ValueError):  # a NUL in the name
        return False


def foreign(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of the files of a model, of these names, that is not a model's."""
    from pullback._archive import ArchiveError

    try:
        holds_model = record_of(folder) is not None or _is_ours(_copy_of(folder))
    except ArchiveError:  # a damaged one may be replaced
        holds_model = True
    for name in names:
        path = folder / name
        others = not is_page(path) if name == REPORT else name in _BESIDE and not holds_model
        if others and os.path.isfile(path):
            return path
    return None


def _copy_of(folder: Path) -> Any:
    try:
        copy = json.loads((folder / COPY).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    # Other programs' files of this name may have a task too.
    return copy if isinstance(copy, dict) and {"format", "fitted"} <= set(copy) else None


def _is_ours(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("task"), str)
