"""Files read: tables and long tables from CSV, beside pyarrow, pandas and polars.

Each reader has a process of its own, for the sake of its memory.

    python benchmarks/bench_reading.py --rounds 5
"""

import _reading_long
import _reading_tables
from _harness import run_parts

PARTS = {"tables": _reading_tables, "long": _reading_long}

if __name__ == "__main__":
    run_parts("reading", PARTS, __doc__)
