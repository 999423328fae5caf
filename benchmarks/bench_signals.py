"""How signals run through a deep network, beside the least work that it takes, and rivals.

Each part has a file of its own, measured in one process.

    python benchmarks/bench_signals.py --rounds 5
"""

import argparse
from typing import Any

import _signals_meanfield
import _signals_trajectory
from _harness import machine, splice, write_results

PARTS = {"meanfield": _signals_meanfield, "trajectory": _signals_trajectory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each rival")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    for name in options.parts:
        part = PARTS[name]
        where = machine(part.PACKAGES)
        versions = ", ".join(f"{package} {at}" for package, at in where["versions"].items())
        record: dict[str, Any] = {"machine": where, "options": vars(options)}
        record |= part.measure(options.rounds)
        told = [
            f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start']} at the start; "
            f"Python {where['python']}, {versions}.",
            *part.tables(record),
        ]
        print("\n\n".join(told), flush=True)
        if not options.print:
            write_results(f"signals-{name}", record)
            splice(f"bench-signals-{name}", "\n\n".join(told))


if __name__ == "__main__":
    main()
