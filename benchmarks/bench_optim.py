"""Optimisers that know what they do not know, beside what people use today.

Each method has a file of its own, with its rivals side by side in one process.

    python benchmarks/bench_optim.py --rounds 5
"""

import torch

import _optim_clusters
import _optim_continual
import _optim_natural
from _harness import run_parts

PARTS = {"clusters": _optim_clusters, "natural": _optim_natural, "continual": _optim_continual}

if __name__ == "__main__":
    torch.set_num_threads(1)
    run_parts("optim", PARTS, __doc__, beside=" (PyTorch 1 thread)")
