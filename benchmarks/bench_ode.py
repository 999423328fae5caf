"""A neural ODE's training step beside its peers: `make bench-ode`.

At each size (batch, state, width), the value and gradient of mean(y(1)^2) with respect to the
parameters and y(0), float32, Dopri5 at rtol = atol = 1e-5, the same weights for every rival. Two
rivals are equal only at equal error, so the errors against a float64 reference stand beside the
times.
"""

import argparse
import os

os.environ["EQX_ON_ERROR"] = "nan"  # as Diffrax's FAQ advises for a fair benchmark of it

import torch

from _harness import Timing, machine, markdown_table, race, splice, write_results
from _ode_jax import (
    Rival,
    diffrax_solve,
    diffrax_vmap_solve,
    floor_solve,
    jax_rival,
    pullback_solve,
)
from _ode_memory import SIZE, STEPS, gradient_memory, memory_solves
from _ode_problem import GAIN, SIZES, TOLERANCE, Answer, Size, reference
from _ode_torch import TORCH_SOLVES, torch_rival

PACKAGES = ("pullback", "jax", "jaxlib", "diffrax", "torch", "torchdiffeq", "torchode", "numpy")
FLOOR = "floor: a bare scan of as many equal steps"


def make_rivals(size: Size, compiles: int, only: str) -> dict[str, Rival]:
    """Every rival whose name contains `only`, compiled and run once."""
    solves = {
        "pullback joint": pullback_solve("joint"),
        "pullback per-sample": pullback_solve("per_sample"),
        "diffrax": diffrax_solve,
        "diffrax vmap": diffrax_vmap_solve,
    }
    rivals = {
        name: jax_rival(solve, size, compiles) for name, solve in solves.items() if only in name
    }
    rivals |= {
        name: torch_rival(solve, size) for name, solve in TORCH_SOLVES.items() if only in name
    }
    steps = max(rival.accepted for rival in rivals.values())
    if "pullback joint" in rivals:
        steps = rivals["pullback joint"].accepted
    return rivals | {FLOOR: jax_rival(floor_solve(steps), size, compiles)}


def record_size(rivals: dict[str, Rival], timings: dict[str, Timing], answer: Answer) -> dict:
    """The figures of every rival at one size; times in milliseconds, compile times in seconds."""
    ours = timings.get("pullback joint", timings[FLOOR])
    record = {}
    for name, rival in rivals.items():
        y1_error, gradient_error = answer.errors(rival.y1, rival.gradient)
        record[name] = {
            "run_ms": 1e3 * timings[name].min,
            "run_ms_median": 1e3 * timings[name].median,
            "repeats": timings[name].count,
            "ratio": timings[name].min / ours.min,
            "compile_s": rival.compile_time and rival.compile_time.total,
            "compile_parts_s": rival.compile_time,
            "nfe": rival.nfe,
            "accepted": rival.accepted,
            "rejected": rival.rejected,
            "y1_error": y1_error,
            "gradient_error": gradient_error,
        }
    return record


def size_table(size: str, record: dict) -> str:
    header = (
        f"{size}", "ms", "median", "/ pullback joint", "compile s",
        "NFE", "steps", "error of y(1)", "error of gradient",
    )  # fmt: skip
    rows = [
        (
            name,
            f"{each['run_ms']:.2f}",
            f"{each['run_ms_median']:.2f}",
            f"{each['ratio']:.2f}",
            "" if each["compile_s"] is None else f"{each['compile_s']:.1f}",
            str(each["nfe"]),
            str(each["accepted"]) + (f" + {each['rejected']}" if each["rejected"] else ""),
            f"{each['y1_error']:.1e}",
            f"{each['gradient_error']:.1e}",
        )
        for name, each in record.items()
    ]
    return markdown_table(header, rows)


def memory_table(memory: dict[str, list[int]]) -> str:
    header = ("MiB of temporary memory", *(f"{steps} steps" for steps in STEPS))
    rows = [(name, *(f"{each / 2**20:.2f}" for each in sizes)) for name, sizes in memory.items()]
    return markdown_table(header, rows)


def page(sizes: dict[str, dict], memory: dict[str, list[int]], about: dict) -> str:
    """The section of the docs, in Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    setting = (
        f"{about['cpu']}, {about['cores']} cores (JAX uses all of them, PyTorch "
        f"{about['torch_threads']} threads), load {about['load_at_start']} at the start; "
        f"Python {about['python']}, {versions}."
    )
    explained = (
        f"Training step at (batch, state, width): the least and the median time of a call, the "
        f"rivals taking turns; all Dopri5 at tolerance {TOLERANCE:g}, float32, weights of gain "
        f"{GAIN:g}. Steps are accepted + rejected ones (torchdiffeq tells only their sum), and per "
        f"sample those of the slowest; NFE is forward only. Errors are against Dopri8 at 1e-12 in "
        f"float64: the largest of y(1), and that of the parameter gradient relative to its norm."
    )
    held = (
        f"Temporary memory of the compiled gradient over N fixed Dopri5 steps, at {SIZE}, by XLA's "
        f"own account:"
    )
    tables = [size_table(size, record) for size, record in sizes.items()]
    return "\n\n".join([setting, explained, *tables, held, memory_table(memory)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1, 2, 3], help="which")
    parser.add_argument("--only", default="", help="rivals named like this, and the floor")
    parser.add_argument("--rounds", type=int, default=20, help="turns of every rival")
    parser.add_argument("--turn", type=float, default=0.1, help="seconds of a turn")
    parser.add_argument("--compiles", type=int, default=3, help="compilations, the best is kept")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()

    about = machine(PACKAGES) | {"torch_threads": torch.get_num_threads()}
    sizes = {}
    for size in (SIZES[index] for index in options.sizes):
        answer = reference(size)
        rivals = make_rivals(size, options.compiles, options.only)
        calls = {name: rival.run for name, rival in rivals.items()}
        timings = race(calls, rounds=options.rounds, turn=options.turn)
        sizes[str(size)] = record_size(rivals, timings, answer)
        print(size_table(str(size), sizes[str(size)]), flush=True)
    memory = {
        name: [gradient_memory(solve, steps) for steps in STEPS]
        for name, solve in memory_solves().items()
        if options.only in name
    }
    print(memory_table(memory))
    if not options.print:
        path = write_results("ode", {"machine": about, "sizes": sizes, "memory_bytes": memory})
        splice("bench-ode", page(sizes, memory, about))
        print(f"Wrote {path} and docs/benchmarks.md")


if __name__ == "__main__":
    main()
