"""Time rivals side by side in one process, and keep what was measured."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from pullback._files import atomic_write_text

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Timing:
    """Seconds that one call took, over `count` calls."""

    min: float
    median: float
    count: int


@dataclass(frozen=True)
class CompileTime:
    """Seconds from a Python function to a program: to a jaxpr, to StableHLO, to machine code."""

    trace: float
    lower: float
    compile: float

    @property
    def total(self) -> float:
        return self.trace + self.lower + self.compile


def compile_program(
    function: Callable[..., Any], *args: Any, repeats: int = 1
) -> tuple[Callable[..., Any], CompileTime]:
    """Compile `function` for `args`, `repeats` times from cold; return it and the best time."""
    jax.config.update("jax_enable_compilation_cache", False)
    jax.jit(lambda x: x + 1).lower(1.0).compile()  # the backend's own start-up is not the rival's
    times = []
    for _ in range(repeats):
        jax.clear_caches()
        start = time.perf_counter()
        traced = jax.jit(function).trace(*args)
        after_trace = time.perf_counter()
        lowered = traced.lower()
        after_lower = time.perf_counter()
        program = lowered.compile()
        end = time.perf_counter()
        times.append(CompileTime(after_trace - start, after_lower - after_trace, end - after_lower))
    return program, min(times, key=lambda each: each.total)  # pyrefly: ignore


def race(
    calls: Mapping[str, Callable[[], object]], *, rounds: int = 20, turn: float = 0.1
) -> dict[str, Timing]:
    """Time the calls in turns, round after round, so that a machine that drifts is fair to all.

    A turn is one call that is not counted, in which the threads and caches that the rival before
    left behind settle (a call longer than a turn needs none), then counted calls until `turn`
    seconds have passed, one at the least. A call must return only when its result is ready.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            long = bool(samples[name]) and min(samples[name]) > turn
            if not long:
                call()
            deadline = time.perf_counter() + turn
            while True:
                start = time.perf_counter()
                call()
                end = time.perf_counter()
                samples[name].append(end - start)
                if end >= deadline:
                    break
    return {
        name: Timing(min(each), statistics.median(each), len(each))
        for name, each in samples.items()
    }


def machine(packages: Iterable[str]) -> dict[str, Any]:
    """What the figures were measured on, and with which versions of the `packages`."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].split(":", 1)[1].strip() if models else cpu
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return {
        "cpu": cpu,
        "cores": cores,
        "load_at_start": round(os.getloadavg()[0], 2),
        "device": str(jax.devices()[0]),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
    }


def write_results(name: str, record: Mapping[str, Any]) -> Path:
    """Write `record` to `benchmarks/results/NAME.json`; dataclasses become objects."""
    path = RESULTS / f"{name}.json"
    atomic_write_text(path, json.dumps(record, indent=1, default=asdict) + "\n")
    return path


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])


def splice(marker: str, text: str, path: Path = DOCS) -> None:
    """Put `text` between `<!-- marker -->` and `<!-- /marker -->` in the page at `path`.

    A page without the markers gets them at its end; any other text in the page is left as it is.
    """
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    page = path.read_text() if path.exists() else "# Benchmarks\n"
    if begin not in page:
        page = f"{page.rstrip()}\n\n{begin}\n{end}\n"
    before, rest = page.split(begin, 1)
    if end not in rest:
        raise ValueError(f"{path} has {begin!r} but no {end!r} after it: put it back by hand.")
    after = rest.split(end, 1)[1]
    atomic_write_text(path, f"{before}{begin}\n{text.strip()}\n{end}{after}")


def run_parts(room: str, parts: Mapping[str, Any], about: str | None, *, beside: str = "") -> None:
    """The command of a benchmark whose parts have files of their own.

    A part has `PACKAGES`, `measure(rounds)` and `tables(record)`; `beside` is told of the machine.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each rival")
    parser.add_argument("--parts", nargs="+", default=list(parts), choices=list(parts))
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    for name in options.parts:
        part = parts[name]
        where = machine(part.PACKAGES)
        versions = ", ".join(f"{package} {at}" for package, at in where["versions"].items())
        record: dict[str, Any] = {"machine": where, "options": vars(options)}
        record |= part.measure(options.rounds)
        told = [
            f"{where['cpu']}, {where['cores']} cores{beside}, load {where['load_at_start']} at the "
            f"start; Python {where['python']}, {versions}.",
            *part.tables(record),
        ]
        print("\n\n".join(told), flush=True)
        if not options.print:
            write_results(f"{room}-{name}", record)
            splice(f"bench-{room}-{name}", "\n\n".join(told))
