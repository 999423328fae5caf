"""A neural SDE's training step beside its peers: `make bench-sde`.

At each size (paths, dimensions, width, hidden layers), the value and gradient of mean(y(1)^2) with
respect to the parameters and y(0): float32, Stratonovich midpoint, diagonal noise, 50 steps, the
same weights for every rival, each on Brownian paths of its own.
"""

import argparse
import os

os.environ["EQX_ON_ERROR"] = "nan"  # as Diffrax's FAQ advises for a fair benchmark of it

import jax
import jax.numpy as jnp
import jax.random as jr
import torch

import _sde_jax
import _sde_torch
from _harness import compile_program, machine, markdown_table, race, splice, write_results
from _sde_problem import SIZES, STEPS, Size, problem

PACKAGES = ("pullback", "jax", "jaxlib", "diffrax", "torch", "torchsde", "numpy")
OURS, FLOOR = "pullback Replay", "floor: a bare scan"
MEMORY_STEPS = (50, 200, 800)


def compile_step(solve, size: Size, steps: int, repeats: int = 1):
    """The compiled training step, its arguments, and its compile time."""
    layers, start = jax.tree.map(jnp.asarray, problem(size))
    arguments = layers, start, jr.key(0)
    step = _sde_jax.training_step(solve, steps)
    program, compile_time = compile_program(step, *arguments, repeats=repeats)
    return program, arguments, compile_time


def measure(size: Size, options: argparse.Namespace) -> dict:
    """Times in milliseconds of every rival, in turns, and compile times in seconds."""
    calls, losses, compiles = {}, {}, {}
    for name, solve in _sde_jax.SOLVES.items():
        program, arguments, compile_time = compile_step(solve, size, STEPS, options.compiles)
        calls[name] = lambda p=program, a=arguments: jax.block_until_ready(p(*a))
        losses[name], compiles[name] = float(program(*arguments)[0]), compile_time.total
    for name, solve in _sde_torch.SOLVES.items():
        if not options.without_torch:
            calls[name] = _sde_torch.training_step(solve, *problem(size), STEPS)  # pyrefly: ignore
            losses[name] = calls[name]()
    timings = race(calls, rounds=options.rounds, turn=options.turn)
    return {
        name: {
            "run_ms": 1e3 * timing.min,
            "run_ms_median": 1e3 * timing.median,
            "repeats": timing.count,
            "ratio": timing.min / timings[OURS].min,
            "over_floor": timing.min / timings[FLOOR].min,
            "compile_s": compiles.get(name),
            "loss": losses[name],
        }
        for name, timing in timings.items()
    }


def size_table(size: str, record: dict) -> str:
    header = (size, "ms", "median", f"/ {OURS}", "/ floor", "compile s", "calls", "loss")
    rows = [
        (
            name,
            f"{each['run_ms']:.2f}",
            f"{each['run_ms_median']:.2f}",
            f"{each['ratio']:.2f}",
            f"{each['over_floor']:.2f}",
            "" if each["compile_s"] is None else f"{each['compile_s']:.1f}",
            str(each["repeats"]),
            f"{each['loss']:.2f}",
        )
        for name, each in record.items()
    ]
    return markdown_table(header, rows)


def memory(size: Size) -> dict[str, list[int]]:
    """Bytes of temporary memory in the compiled step, by number of steps."""
    found = {}
    for name, solve in _sde_jax.SOLVES.items():
        found[name] = [
            compile_step(solve, size, steps)[0].memory_analysis().temp_size_in_bytes
            for steps in MEMORY_STEPS
        ]
    return found


def memory_table(found: dict[str, list[int]]) -> str:
    header = ("MiB of temporary memory", *(f"{steps} steps" for steps in MEMORY_STEPS))
    rows = [(name, *(f"{each / 2**20:.2f}" for each in sizes)) for name, sizes in found.items()]
    return markdown_table(header, rows)


def page(sizes: dict[str, dict], held: dict[str, list[int]], about: dict) -> str:
    """The section of the docs, in Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    setting = (
        f"{about['cpu']}, {about['cores']} cores (JAX uses all of them, PyTorch "
        f"{about['torch_threads']} threads), load {about['load_at_start']} at the start; "
        f"Python {about['python']}, {versions}."
    )
    explained = (
        "Training step at (paths, dimensions, width, hidden layers of drift and diffusion each): "
        "the least and the median time of a call, the rivals taking turns; Stratonovich midpoint, "
        f"{STEPS} steps, diagonal noise, float32. Every rival has Brownian paths of its own, so "
        "the losses agree up to sampling. Diffrax is on its virtual Brownian tree with a "
        "tolerance of a quarter of a step."
    )
    tables = [size_table(size, record) for size, record in sizes.items()]
    kept = f"Temporary memory of the compiled step, at {SIZES[1]}, by XLA's own account:"
    return "\n\n".join([setting, explained, *tables, kept, memory_table(held)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="turns of every rival")
    parser.add_argument("--turn", type=float, default=0.2, help="seconds of a turn")
    parser.add_argument("--compiles", type=int, default=2, help="compilations, the best is kept")
    parser.add_argument("--without-torch", action="store_true", help="leave torchsde out")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()

    about = machine(PACKAGES) | {"torch_threads": torch.get_num_threads()}
    sizes = {}
    for size in SIZES:
        sizes[str(size)] = measure(size, options)
        print(size_table(str(size), sizes[str(size)]), flush=True)
    held = memory(SIZES[1])
    print(memory_table(held))
    if not options.print:
        path = write_results("sde", {"machine": about, "sizes": sizes, "memory_bytes": held})
        splice("bench-sde", page(sizes, held, about))
        print(f"Wrote {path} and docs/benchmarks.md")


if __name__ == "__main__":
    main()
