"""Ten million ratings, read from a file some rows at a time: seconds and memory."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from _harness import markdown_table

PACKAGES = ("pullback", "numpy", "pyarrow")
COUNTS = (10_000_000,)
USERS, ITEMS = 138_493, 26_744  # of MovieLens-20M
_READ = r"""
import re, sys, time
from pathlib import Path
from pullback.data import read_ratings
# The most of this program alone: getrusage counts that of its parent too.
most = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before, start = most(), time.process_time()
ratings = read_ratings(sys.argv[1])
print(len(ratings.values), time.process_time() - start, most() - before)
"""


def write(path: Path, count: int) -> None:
    """A CSV file of distinct pairs."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("userId,movieId,rating,timestamp\n")
        for start in range(0, count, 500_000):
            place = np.arange(start, min(start + 500_000, count))
            user = place % USERS
            item = (place // USERS * 7919 + user * 31) % ITEMS
            rating = rng.integers(1, 11, len(place)) / 2
            cells = (user.astype(str), item.astype(str), rating.astype(str),
                     (10**9 + place).astype(str))  # fmt: skip
            file.write("\n".join(map(",".join, zip(*cells, strict=True))) + "\n")


def measure(rounds: int) -> dict[str, Any]:
    """Each count in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            path = Path(folder) / "ratings.csv"
            write(path, count)
            size = path.stat().st_size / 2**20
            command = [sys.executable, "-c", _READ, str(path)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            read, seconds, memory = map(float, out.split())
            found[str(count)] = {
                "read": read, "seconds": seconds, "memory": memory, "file": size
            }  # fmt: skip
    return {"read": found}


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and a table."""
    rows = [
        (f"{int(count):,}", f"{each['file']:.0f}", f"{each['seconds']:.1f}",
         f"{each['memory']:.0f}", f"{2**20 * each['memory'] / each['read']:.0f}")
        for count, each in record["read"].items()
    ]  # fmt: skip
    return [
        "### Ratings read\n\n`read_ratings` of a CSV file with users, items, ratings and times; "
        "seconds of the processor, and what the process needed beyond its start at the most.",
        markdown_table(
            ("ratings", "MiB of the file", "seconds", "MiB of memory", "bytes each"), rows
        ),
    ]
