"""metrics.jsonl: one line per chunk, and no line twice after a resume."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pullback._files import append_text, atomic_write_text

# What every line tells, whatever the loss and the metrics.
_OF_EACH = {"step", "steps_per_second"}


def restart_log(
    path: Path, *, step: int, runs: tuple[int, ...] = ()
) -> tuple[list[dict[str, Any]], int]:
    """Keep the lines up to `step` and drop the rest: what was kept, and how many were damaged.

    The lines after the last checkpoint are going to be written again, and a run killed while it
    wrote a line has left a part of one, which does not count.
    """
    kept, damaged, last = [], 0, 0
    lines = []
    if step > 0 and path.exists():
        lines = path.read_text(errors="replace").splitlines(keepends=True)
    for line in lines:
        entry = _entry(line, runs)
        if entry is None or entry["step"] <= last:
            damaged += line.endswith("\n")
        elif entry["step"] <= step:
            kept.append(entry)
            last = entry["step"]
    atomic_write_text(path, "".join(json.dumps(entry) + "\n" for entry in kept))
    return kept, damaged


def _entry(line: str, runs: tuple[int, ...]) -> dict[str, Any] | None:
    """What a line says; None where it is no line of a log, of so many runs."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not _OF_EACH <= entry.keys():
        return None
    if type(entry["step"]) is not int or entry["step"] < 1:
        return None
    each = (value if isinstance(value, list) else [value] for value in entry.values())
    shapes = {(len(value),) for value in entry.values() if isinstance(value, list)}
    numbers = all(_is_number(number) for value in each for number in value)
    return entry if numbers and shapes <= {runs} else None


def _is_number(value: Any) -> bool:
    try:
        return value is None or (isinstance(value, int | float) and math.isfinite(value))
    except OverflowError:
        return False


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Add one line. JSON knows no NaN or infinity: such a metric becomes null."""
    clean = {name: _listed(value) for name, value in entry.items()}
    append_text(path, json.dumps(clean, allow_nan=False) + "\n")


def _listed(value: Any) -> Any:
    value = np.asarray(value)
    if not np.issubdtype(value.dtype, np.floating):
        return value.tolist()
    return jax.tree.map(lambda x: x if math.isfinite(x) else None, value.tolist())
