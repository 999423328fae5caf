"""Generators of sequences, searches with them, and autoencoders of tokens, beside rivals.

Each part has a file of its own, measured in one process.

    python benchmarks/bench_sequences.py --rounds 5
"""

import torch
from threadpoolctl import threadpool_limits

import _sequences_design
import _sequences_gan
import _sequences_tokens
from _harness import run_parts

PARTS = {"gan": _sequences_gan, "design": _sequences_design, "tokens": _sequences_tokens}

if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        run_parts("sequences", PARTS, __doc__, beside=" (PyTorch and BLAS 1 thread)")
