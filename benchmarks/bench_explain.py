"""Explanations, beside the bare cost of the model that is explained, and rivals.

Each part has a file of its own, measured in one process.

    python benchmarks/bench_explain.py --rounds 5
"""

import torch
from threadpoolctl import threadpool_limits

import _explain_fido
import _explain_fit
from _harness import run_parts

PARTS = {"fido": _explain_fido, "fit": _explain_fit}

if __name__ == "__main__":
    torch.set_num_threads(1)
    # Two threads of BLAS in one small Cholesky factor wait for each other on the processor's time.
    with threadpool_limits(1):
        run_parts("explain", PARTS, __doc__, beside=" (PyTorch and BLAS 1 thread)")
