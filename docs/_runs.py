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

    What the command says goes to this process's stderr. A run that was killed stays as it is, to be
    gone on with; one of other code, which cannot be, is replaced.
    """
    words = [sys.executable, "-m", "pullback.cli", "run", *flags(record, seed)]
    words += ["--out", str(folder), "--no-progress"]
    before = _written(folder)
    for wish in ("--resume", "--overwrite"):
        done = subprocess.run([*words, wish], stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        sys.stderr.write(done.stderr)
        if done.returncode == 130:
            raise KeyboardInterrupt
        if not (done.returncode == 2 and "--overwrite" in done.stderr):
            break
    # A traceback ends with the status of a claim that fails, and leaves what was there before.
    if done.returncode not in (0, 1) or _written(folder) == before:
        return None
    try:
        found = read_record(folder)
    except ValueError:
        return None
    same = all(found[name] == record[name] for name in ("recipe", "preset", "config"))
    return found if same and found["seed"] == seed else None


def _written(folder: Path) -> int | None:
    """When the claims in a folder were written."""
    claims = folder / "claims.json"
    return claims.stat().st_mtime_ns if claims.exists() else None


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
    """What `check_headlines.py` found so far of a result.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        found = json.loads(path.read_bytes())
        seeds = [*found["setting"].values(), *found["fresh"].values()]
        whole = all(isinstance(one["claims"], list) for one in seeds)
        if not whole or not isinstance(found["sources"], str):
            raise ValueError("it has not what a check holds")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}; delete it, and check again") from error
    return found


def of_this(check: dict[str, Any], record: dict[str, Any], sources: str | None) -> bool:
    """Whether what was checked is a record's experiment, with its settings and its code."""
    same = all(check.get(name) == record[name] for name in ("recipe", "preset", "config"))
    seeds = [*check["setting"].values(), *check["fresh"].values()]
    as_many = all(len(one["claims"]) == len(record["claims"]) for one in seeds)
    return same and as_many and check["sources"] == sources
