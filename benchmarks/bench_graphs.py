"""Graphs: drawing them and learning to, and statistics of them, beside rivals.

Each part has a file of its own, measured in one process.

    python benchmarks/bench_graphs.py --rounds 5
"""

import torch
from threadpoolctl import threadpool_limits

import _graphs_metrics
import _graphs_model
from _harness import run_parts

PARTS = {"model": _graphs_model, "metrics": _graphs_metrics}

if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        run_parts("graphs", PARTS, __doc__, beside=" (PyTorch and BLAS 1 thread)")
