"""Explanations, beside the bare cost of the model that is explained, and rivals.

Each part has a file of its own, measured in one process.

    python benchmarks/bench_explain.py --rounds 5
"""

import _explain_fido
from _harness import run_parts

PARTS = {"fido": _explain_fido}

if __name__ == "__main__":
    run_parts("explain", PARTS, __doc__)
