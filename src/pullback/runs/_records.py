"""What a run left in its folder, read again: whole and of the right kinds, or named as damaged."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NUMBER = (int, float)
_RECORD = {
    "recipe": str, "title": str, "arxiv": str, "summary": str, "preset": str, "seed": int,
    "config": dict, "changed": list, "claims": list, "versions": dict, "machine": dict,
    "sources": str, "commit": (str, type(None)), "wall_seconds": _NUMBER, "legs": list,
    "finished": str,
}  # fmt: skip
_CLAIM = {
    "sentence": str, "value": (*_NUMBER, str), "spread": (*_NUMBER, str, type(None)), "seeds": int,
    "unit": str, "bound": str, "reference": str, "holds": bool,
    "at_least": (*_NUMBER, str, type(None)), "at_most": (*_NUMBER, str, type(None)),
    "headline": (dict, type(None)),
}  # fmt: skip
_HEADLINE = {"no_effect": _NUMBER, "paper": (*_NUMBER, type(None)), "published": bool}
_IDENTITY = {
    "recipe": str, "preset": str, "seed": int, "data": (str, type(None)), "code": str,
    "with": dict, "config": dict,
}  # fmt: skip
_CONTENTS = {
    "figure": {"file": str, "caption": str, "alt": str},
    "table": {"header": list, "rows": list, "caption": str},
    "note": {"text": str},
}
_CELL = (*_NUMBER, str, type(None))
_CODE = re.compile(r"\S+\+[0-9a-f]{12}")  # as `identity_of` writes it
_PICTURE = re.compile(r"figures/[A-Za-z0-9][A-Za-z0-9._-]*\.png")


def read_record(path: Path) -> dict[str, Any]:
    """What a finished run measured and with what.

    Args:
        path: The run's folder, or its `claims.json`, or a recorded result.

    Raises:
        ValueError: There is no finished run, or the file is damaged.
    """
    path = path / "claims.json" if path.is_dir() else path
    record = read_json(path)
    wrong = _wrong(record, _RECORD, "the record")
    for claim in [] if wrong else record["claims"]:
        wrong = wrong or _wrong(claim, _CLAIM, "a claim")
        if not wrong and claim["headline"] is not None:
            wrong = _wrong(claim["headline"], _HEADLINE, "a headline")
    if not wrong and not all(name in record["config"] for name in map(str, record["changed"])):
        wrong = "changed names a setting that config has not"
    if wrong:
        raise ValueError(f"{path} is damaged: {wrong}")
    return record


def read_contents(folder: Path) -> list[dict[str, Any]]:
    """The figures, tables and notes of a finished run, in the order in which they were made.

    Raises:
        ValueError: The file is missing or damaged.
    """
    path = folder / "contents.json"
    contents = read_json(path)
    if wrong := _wrong_contents(contents):
        raise ValueError(f"{path} is damaged: {wrong}")
    return contents


def read_identity(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder is, as `config.json` says, or None where it does not say it."""
    try:
        found = read_json(folder / "config.json")
    except ValueError:
        return None
    if _wrong(found, _IDENTITY, "") or not _CODE.fullmatch(found["code"]):
        return None
    return found


def read_json(path: Path) -> Any:
    """What a run wrote in a JSON file, or a ValueError that says what is wrong with it."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        return json.loads(path.read_bytes(), parse_constant=refuse)
    except OSError as error:
        raise ValueError(f"no finished run here: {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _wrong(found: Any, kinds: Mapping[str, Any], what: str) -> str | None:
    """What is not as it should be, or None."""
    if not isinstance(found, dict):
        return f"{what} is a {type(found).__name__}, and no object"
    for name, kind in kinds.items():
        if name not in found:
            return f"{what} has no {name!r}"
        value = found[name]
        # Of Python's numbers a bool is one too, and of JSON's it is none.
        fits = isinstance(value, kind) and isinstance(value, bool) <= (kind is bool)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            return f"{name!r} of {what} is a {type(value).__name__} that it cannot be"
    return None


def _wrong_contents(contents: Any) -> str | None:
    if not isinstance(contents, list):
        return f"it holds a {type(contents).__name__}, and no list"
    for item in contents:
        kind = item.get("kind") if isinstance(item, dict) else None
        if not isinstance(kind, str) or kind not in _CONTENTS:
            return "a part of it is no figure, table or note"
        if wrong := _wrong(item, _CONTENTS[kind], f"a {kind}"):
            return wrong
        if kind == "figure" and not _PICTURE.fullmatch(item["file"]):
            return "the file of a figure is none in figures/"
        if kind == "table":
            rows = [item["header"], *item["rows"]]
            if not all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows):
                return "the rows of a table are not as long as its header"
            if not all(isinstance(cell, _CELL) for row in rows for cell in row):
                return "a cell of a table is no text and no number"
    return None
