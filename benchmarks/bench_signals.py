"""How signals run through a deep network, beside the least work that it takes, and rivals.

Each part has a file of its own, measured in one process.

    python benchmarks/bench_signals.py --rounds 5
"""

import _signals_meanfield
import _signals_trajectory
from _harness import run_parts

PARTS = {"meanfield": _signals_meanfield, "trajectory": _signals_trajectory}

if __name__ == "__main__":
    run_parts("signals", PARTS, __doc__)
