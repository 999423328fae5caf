"""Recorded runs, run again: the same experiment with the same settings, in a process of its own."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pullback.runs import read_record


def flags(record: dict[str, Any], seed: int) -> list[str]:
    """The words after `pullback run` that make a record again, by another base seed or its own."""
    words = [record["recipe"], "--preset", record["preset"]]
    for name in record["changed"]:
        value, flag = record["config"][name], name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            each = value if isinstance(value, list) else [value]
            words += [f"--{flag}", *map(str, each)]
    return [*words, "--seed", str(seed)]


def run_again(record: dict[str, Any], seed: int, folder: Path) -> dict[str, Any] | None:
    """Run, or go on with a run that was stopped; None where it did not end with claims.

    What the command says goes to this process's stderr.
    """
    words = [sys.executable, "-m", "pullback.cli", "run", *flags(record, seed)]
    words += ["--out", str(folder), "--no-progress"]
    for wish in ("--resume", "--overwrite"):  # the second where the code has changed since
        done = subprocess.run([*words, wish], stdout=sys.stderr)
        if done.returncode == 130:
            raise KeyboardInterrupt
        if done.returncode in (0, 1):
            break
    try:
        return read_record(folder) if done.returncode in (0, 1) else None
    except ValueError:
        return None


class Sitting:
    """So many minutes for runs: one that would take longer than what is left is not begun."""

    def __init__(self, minutes: float):
        self._end = time.monotonic() + 60 * minutes

    def takes(self, name: str, seconds: float) -> bool:
        """Whether a run that takes so long is still to be begun; says so where it is not."""
        if time.monotonic() + seconds < self._end:
            return True
        print(f"left for another sitting: {name} ({seconds:.0f} s)", file=sys.stderr)
        return False


def read_check(path: Path) -> dict[str, Any]:
    """What `check_headlines.py` found so far of a result."""
    return json.loads(path.read_text())
