"""Recommenders: newcomers without a refit beside rivals, and ten million ratings read.

Each part has a file of its own, measured in one process.

    python benchmarks/bench_recommend.py --rounds 5
"""

import _recommend_newcomers
import _recommend_read
from _harness import run_parts

PARTS = {"newcomers": _recommend_newcomers, "read": _recommend_read}

if __name__ == "__main__":
    run_parts("recommend", PARTS, __doc__)
