"""Games of two players beside what people use today.

Each game has a file of its own, with its rivals side by side in one process.

    python benchmarks/bench_games.py --rounds 5
"""

import torch

import _games_ali
import _games_gan
from _harness import run_parts

PARTS = {"ali": _games_ali, "gan": _games_gan}

if __name__ == "__main__":
    torch.set_num_threads(1)
    run_parts("games", PARTS, __doc__, beside=" (PyTorch 1 thread)")
