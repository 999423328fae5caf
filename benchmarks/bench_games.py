"""Games of two players beside what people use today.

Each game has a file of its own, with its rivals side by side in one process.

    python benchmarks/bench_games.py --rounds 5
"""

import argparse
from typing import Any

import torch

import _games_ali
import _games_gan
from _harness import machine, splice, write_results

PARTS = {"ali": _games_ali, "gan": _games_gan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each rival")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.parts:
        part = PARTS[name]
        where = machine(part.PACKAGES)
        versions = ", ".join(f"{package} {at}" for package, at in where["versions"].items())
        record: dict[str, Any] = {"machine": where, "options": vars(options)}
        record |= part.measure(options.rounds)
        told = [
            f"{where['cpu']}, {where['cores']} cores (PyTorch 1 thread), load "
            f"{where['load_at_start']} at the start; Python {where['python']}, {versions}.",
            *part.tables(record),
        ]
        print("\n\n".join(told), flush=True)
        if not options.print:
            write_results(f"games-{name}", record)
            splice(f"bench-games-{name}", "\n\n".join(told))


if __name__ == "__main__":
    main()
