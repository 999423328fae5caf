"""One reader of one file, in a process of its own: seconds, and memory at the most.

python benchmarks/_reading_child.py READER FILE ROUNDS
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def reader(name: str) -> Callable[[str], Any]:
    """How a file is read; what it needs is loaded before anything is measured."""
    if name == "pyarrow":
        from pyarrow import csv

        return csv.read_csv
    if name == "pandas":
        import pandas  # pyrefly: ignore[missing-import]

        return pandas.read_csv
    if name == "polars":
        import polars  # pyrefly: ignore[missing-import]

        return polars.read_csv
    from pullback import data

    return data.read_table if name == "read_table" else data.read_long


def rows_of(found: Any) -> int:
    """How many rows, or observations, there are in what was read."""
    if hasattr(found, "time_unit"):
        return int(np.count_nonzero(found.mask))
    return len(found.values) if hasattr(found, "holes") else len(found)


def most() -> float:
    """MiB of this program alone, at its most: getrusage counts its parent too."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found
    return int(found[1]) / 1024


if __name__ == "__main__":
    name, path, rounds = sys.argv[1:]
    read = reader(name)
    before = most()
    count = rows_of(read(path))
    memory = most() - before
    processor, wall = [], []
    for _ in range(int(rounds)):
        at, cpu = time.perf_counter(), time.process_time()
        read(path)
        processor.append(time.process_time() - cpu)
        wall.append(time.perf_counter() - at)
    print(json.dumps({"rows": count, "memory": memory, "cpu": min(processor), "wall": min(wall)}))
