"""Long tables of irregular series, from CSV files of ten thousand rows and more."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from _reading_tables import race, seconds_and_memory

PACKAGES = ("pullback", "numpy", "pyarrow", "pandas", "polars")
COUNTS = (10_000, 100_000, 1_000_000, 10_000_000)
READERS = ("read_long", "pyarrow", "pandas", "polars")
_TIMES, _VARIABLES = 40, ("HR", "Temp", "SpO2", "RespRate", "Glucose")


def write(path: Path, count: int) -> None:
    """Series of `_TIMES` times, at each of which all variables were measured."""
    rng = np.random.default_rng(0)
    each = _TIMES * len(_VARIABLES)
    with path.open("w") as file:
        file.write("patient,time [h],parameter,value\n")
        for patient in range(count // each):
            times = np.cumsum(rng.uniform(0.1, 2, _TIMES))
            values = rng.normal(size=each)
            file.writelines(
                f"patient-{patient},{times[k // len(_VARIABLES)]:.4f},"
                f"{_VARIABLES[k % len(_VARIABLES)]},{values[k]:.5g}\n"
                for k in range(each)
            )


def measure(rounds: int) -> dict[str, Any]:
    """Each count of rows by each reader."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            path = Path(folder) / "long.csv"
            write(path, count)
            found[str(count)] = race(READERS, path, count, rounds)
    return {"read": found}


def tables(record: dict[str, Any]) -> list[str]:
    """What was measured, in words and tables."""
    most = record["read"][str(COUNTS[-1])]
    ratio = most["read_long"]["cpu"] / most["pyarrow"]["cpu"]
    seconds, memory = seconds_and_memory(READERS, record["read"])
    return [
        "### Long tables\n\nRows of series, time, variable and value. `read_long` gives the series "
        "on their own times, with each unit, duplicate and hole looked at; the others give the "
        f"four columns as they stand. Of {COUNTS[-1]:,} rows it takes {ratio:.1f} times what "
        "pyarrow does. Seconds of the processor, as above.",
        seconds,
        "MiB of memory beyond the start of the process, at the most.",
        memory,
    ]
