"""Tables of ten columns of numbers, from CSV files of ten thousand to ten million rows."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _harness import ROOT, markdown_table

PACKAGES = ("pullback", "numpy", "pyarrow", "pandas", "polars")
COUNTS = (10_000, 100_000, 1_000_000, 10_000_000)
COLUMNS = 10
READERS = ("read_table", "pyarrow", "pandas", "polars")
_BLOCK = 100_000
_FEW = 1_000_000  # rows; of more a file is read once


def write(path: Path, count: int) -> None:
    """A table of numbers with six digits; after the first block the same rows again."""
    values = np.random.default_rng(0).normal(size=(min(count, _BLOCK), COLUMNS))
    block = "".join(",".join(f"{value:.6g}" for value in row) + "\n" for row in values.tolist())
    with path.open("w") as file:
        file.write(",".join(f"column_{place}" for place in range(COLUMNS)) + "\n")
        for _ in range(max(1, count // _BLOCK)):
            file.write(block)


def race(readers: Sequence[str], path: Path, count: int, rounds: int) -> dict[str, Any]:
    """What each reader takes for one file, each in a process of its own."""
    found: dict[str, Any] = {"file": path.stat().st_size / 2**20}
    turns = rounds if count <= _FEW else 1
    for reader in readers:
        script = str(ROOT / "benchmarks" / "_reading_child.py")
        command = [sys.executable, script, reader, str(path), str(turns)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[reader] = json.loads(out)
        if found[reader]["rows"] != count:
            raise RuntimeError(f"{reader} read {found[reader]['rows']} of {count} rows.")
    return found


def measure(rounds: int) -> dict[str, Any]:
    """Each count of rows by each reader."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            path = Path(folder) / "table.csv"
            write(path, count)
            found[str(count)] = race(READERS, path, count, rounds)
    return {"read": found}


def seconds_and_memory(readers: Sequence[str], read: dict[str, Any]) -> list[str]:
    """The two tables of one race."""
    head = ("rows", "MiB of the file", *readers)
    told = []
    for key, form in (("cpu", "{:.3g}"), ("memory", "{:.0f}")):
        rows = [
            (f"{int(count):,}", f"{each['file']:.1f}",
             *(form.format(each[reader][key]) for reader in readers))
            for count, each in read.items()
        ]  # fmt: skip
        told.append(markdown_table(head, rows))
    return told


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and tables."""
    read = record["read"]
    most = read[str(COUNTS[-1])]
    ours, theirs = most["read_table"], most["pyarrow"]
    size = 8 * COUNTS[-1] * COLUMNS / 2**20
    seconds, memory = seconds_and_memory(READERS, read)
    return [
        f"### Tables\n\nA table of {COLUMNS} columns of numbers. Seconds of the processor, of all "
        "threads together, the best of the rounds (of ten million rows there is one), each reader "
        "in a process of its own. `read_table` gives a matrix with the line of each row, and has "
        "looked for holes, infinities, rows of another length and text that is no UTF-8; the "
        f"others give columns. Of ten million rows it takes {ours['cpu'] / theirs['cpu']:.2f} "
        "times what pyarrow does.",
        seconds,
        "MiB that the process needed beyond its start at the most. Of ten million rows the numbers "
        f"alone are {size:.0f} MiB, of which `read_table` needed {ours['memory'] / size:.2f} "
        "times as many.",
        memory,
    ]
