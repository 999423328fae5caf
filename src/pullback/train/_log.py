"""metrics.jsonl: one line per chunk, and no line twice after a resume."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pullback._files import atomic_write_text


def restart_log(path: Path, *, step: int) -> list[dict[str, Any]]:
    """Keep the lines up to `step`, drop the rest, and return what was kept.

    The lines after the last checkpoint are going to be written again, and a run killed while it
    wrote a line has left a part of one.
    """
    kept = []
    if step > 0 and path.exists():
        for line in path.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break
            if entry["step"] > step:
                break
            kept.append(entry)
    atomic_write_text(path, "".join(json.dumps(entry) + "\n" for entry in kept))
    return kept


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Add one line. JSON knows no NaN or infinity: such a metric becomes null."""
    clean = {name: _listed(value) for name, value in entry.items()}
    with path.open("a") as file:
        file.write(json.dumps(clean, allow_nan=False) + "\n")


def _listed(value: Any) -> Any:
    value = np.asarray(value)
    if not np.issubdtype(value.dtype, np.floating):
        return value.tolist()
    return jax.tree.map(lambda x: x if math.isfinite(x) else None, value.tolist())
