"""What an installation takes on the disk, and how long it is until the command answers.

    python benchmarks/bench_install.py

`pip install .` into a fresh environment, from a package index; then CPU seconds of processes.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _harness import ROOT, machine, splice, write_results

COMMANDS = {
    "python alone": ("-c", "pass"),
    "`import pullback`": ("-c", "import pullback"),
    "`pullback --help`": ("-m", "pullback.cli", "--help"),
    "`pullback list`": ("-m", "pullback.cli", "list"),
    "`from pullback import ode`": ("-c", "from pullback import ode"),
    "`import jax`": ("-c", "import jax"),
    "`import diffrax`": ("-c", "import diffrax"),
}


def cpu_seconds(words: Sequence[str | Path], where: Path) -> float:
    """The CPU time of a process, in seconds."""
    spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before = spent()
    subprocess.run(words, cwd=where, check=True, capture_output=True)
    return spent() - before


def measure(rounds: int) -> dict[str, Any]:
    """Install, count bytes and packages, and time each command so many times, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        venv.create(where / "venv", with_pip=True)
        python = where / "venv" / "bin" / "python"
        (site,) = (where / "venv").glob("lib/*/site-packages")
        size = lambda path: sum(f.lstat().st_size for f in path.rglob("*") if f.is_file())
        empty, packages = size(site), len([*site.glob("*.dist-info")])
        install = [python, "-m", "pip", "install", "--quiet", str(ROOT)]
        subprocess.run(install, check=True, capture_output=True)
        of = {each.name: size(each) / 1e6 for each in site.iterdir() if each.is_dir()}
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(rounds + 1):  # the first one warms the disk's cache
            for name, words in COMMANDS.items():
                times[name].append(cpu_seconds([python, *words], where))
        return {
            "megabytes": (size(site) - empty) / 1e6,
            "packages": len([*site.glob("*.dist-info")]) - packages,
            "largest": dict(sorted(of.items(), key=lambda item: -item[1])[:6]),
            "own": of["pullback"],
            "seconds": {name: each[1:] for name, each in times.items()},
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--print", action="store_true", help="print the table and write nothing")
    options = parser.parse_args()
    where = machine(("jax", "diffrax"))
    record = {"machine": where, "options": vars(options), **measure(options.rounds)}
    largest = ", ".join(f"{name} {size:.0f} MB" for name, size in record["largest"].items())
    rows = [
        f"| {name} | {min(each):.2f} | {statistics.median(each):.2f} |"
        for name, each in record["seconds"].items()
    ]
    told = "\n".join(
        [
            f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start']} at the start; "
            f"Python {where['python']}, compiled modules. `pip install .` brings "
            f"{record['packages']} packages of {record['megabytes']:.0f} MB in all, of which "
            f"pullback has {record['own']:.1f} MB; the largest: {largest}.",
            "",
            "| process | CPU s, the least | median |",
            "| --- | ---: | ---: |",
            *rows,
        ]
    )
    print(told)
    if not options.print:
        write_results("install", record)
        splice("bench-install", told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
