"""The learned Stein test beside kernel tests, as the data grow.

The learned test costs what its training does, whatever the number of rows; a kernel test takes all
pairs. Rivals: this library's quadratic kernel test, and the same test as a user would write it, in
NumPy and in PyTorch (the matrix of all pairs at once, signs of the wild bootstrap). All are given
one data set of each size; in one process, taking turns. The table is written into
docs/benchmarks.md.

    python benchmarks/bench_stein.py --rows 1000 3000 10000 --dim 10
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import torch

from _harness import Timing, compile_program, machine, markdown_table, race, splice, write_results
from pullback.analysis import finite_set_stein_test, goodness_of_fit, kernel_stein_test

PACKAGES = ("pullback", "jax", "jaxlib", "equinox", "numpy", "torch")
SIGNS = 500
LEARNED, KERNEL = "pullback goodness_of_fit", "pullback kernel_stein_test"


def score(x):
    return -x


def jax_tasks(steps: int, batch_size: int) -> dict[str, Callable[..., Any]]:
    return {
        LEARNED: lambda x, key: (
            goodness_of_fit(
                x, score=score, width=64, steps=steps, batch_size=batch_size, key=key
            ).p_value
        ),
        KERNEL: lambda x, key: (
            kernel_stein_test(x, score=score, num_bootstrap=SIGNS, key=key).p_value
        ),
        "pullback finite_set_stein_test": lambda x, key: (
            finite_set_stein_test(x, score=score, key=key).p_value
        ),
    }


def numpy_kernel_test(x: np.ndarray) -> float:
    """All pairs at once, as from the paper."""
    generator, s = np.random.default_rng(0), -x
    squares = (x**2).sum(1)
    r2 = np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0)
    some = r2[:500, :500]
    h2 = np.median(some[np.triu_indices(len(some), 1)])
    k = np.exp(-r2 / (2 * h2))
    cross = x @ s.T + s @ x.T - (x * s).sum(1)[None] - (x * s).sum(1)[:, None]
    u = k * (s @ s.T - cross / h2 + x.shape[1] / h2 - r2 / h2**2)
    np.fill_diagonal(u, 0)
    signs = generator.choice(np.array([-1, 1], x.dtype), (len(x), SIGNS))
    draws = (signs * (u @ signs)).sum(0)
    return float((1 + (draws >= u.sum()).sum()) / (1 + SIGNS))


def torch_kernel_test(x: torch.Tensor) -> float:
    """The same."""
    s = -x
    r2 = torch.cdist(x, x) ** 2
    some = r2[:500, :500]
    rows, columns = torch.triu_indices(len(some), len(some), 1)
    h2 = some[rows, columns].median()
    k = torch.exp(-r2 / (2 * h2))
    along = (x * s).sum(1)
    cross = x @ s.T + s @ x.T - along[None] - along[:, None]
    u = k * (s @ s.T - cross / h2 + x.shape[1] / h2 - r2 / h2**2)
    u.fill_diagonal_(0)
    signs = torch.randint(0, 2, (len(x), SIGNS)).to(x.dtype) * 2 - 1
    draws = (signs * (u @ signs)).sum(0)
    return float((1 + (draws >= u.sum()).sum()) / (1 + SIGNS))


def measure(rows: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    x = jr.laplace(jr.key(0), (rows, options.dim)) / math.sqrt(2)
    array = np.asarray(x)
    tensor = torch.tensor(array)
    calls: dict[str, Callable[[], object]] = {}
    found: dict[str, dict[str, Any]] = {}
    for name, task in jax_tasks(options.steps, options.batch_size).items():
        program, compiling = compile_program(task, x, jr.key(1))
        calls[name] = lambda program=program: jax.block_until_ready(program(x, jr.key(1)))
        memory = program.memory_analysis()  # pyrefly: ignore
        found[name] = {"compile": compiling.total, "bytes": memory.temp_size_in_bytes}
    calls["NumPy, all pairs at once"] = lambda: numpy_kernel_test(array)
    calls["PyTorch, all pairs at once"] = lambda: torch_kernel_test(tensor)
    times = race(calls, rounds=options.rounds)
    for name, call in calls.items():
        found.setdefault(name, {})
        found[name] |= {"time": times[name], "p": float(jnp.asarray(call()))}
    return found


def slopes(sizes: dict[str, dict[str, dict[str, Any]]]) -> dict[str, float]:
    """By which power of the rows each test's time grows, from the first size to the last."""
    first, last = (next(iter(each)) for each in (sizes, reversed(sizes)))
    growth = math.log(int(last) / int(first))
    return {
        name: math.log(sizes[last][name]["time"].min / row["time"].min) / growth
        for name, row in sizes[first].items()
    }


def table(sizes: dict[str, dict[str, dict[str, Any]]]) -> str:
    grows = slopes(sizes) if len(sizes) > 1 else {}
    header = ["seconds a test", *(f"n = {rows}" for rows in sizes), "grows as", "/ learned, last",
              "temporary MB, last", "compile s", "p, first and last"]  # fmt: skip
    ends = list(sizes.values())

    def cells(name: str) -> list[str]:
        last: Timing = ends[-1][name]["time"]
        megabytes = ends[-1][name].get("bytes")
        return [
            name,
            *(f"{rows[name]['time'].min:.3f}" for rows in ends),
            f"n^{grows[name]:.2f}" if grows else "",
            f"{last.min / ends[-1][LEARNED]['time'].min:.2f}",
            "" if megabytes is None else f"{megabytes / 1e6:.0f}",
            f"{ends[-1][name]['compile']:.1f}" if "compile" in ends[-1][name] else "",
            f"{ends[0][name]['p']:.3f}, {ends[-1][name]['p']:.3f}",
        ]

    return markdown_table(header, [cells(name) for name in ends[0]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--dim", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400, help="of training a critic")
    parser.add_argument("--batch-size", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each rival")
    parser.add_argument("--print", action="store_true", help="print the table and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES)
    record: dict[str, Any] = {"machine": where, "options": vars(options), "sizes": {}}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    for rows in options.rows:
        record["sizes"][str(rows)] = measure(rows, options)
    parts = [
        f"{where['cpu']}, {where['cores']} cores (PyTorch {torch.get_num_threads()} threads), load "
        f"{where['load_at_start']} at the start; Python {where['python']}, {versions}.",
        f"Laplace data in {options.dim} columns against a standard Gaussian, float32. The learned "
        f"test trains a critic of width 64 for {options.steps} steps of {options.batch_size} rows, "
        f"compilation aside; kernel tests take all pairs and {SIGNS} draws of signs. Left out: "
        "`kgof`, which is not on the package index, and `ksd-metric`, a value without a test.",
        table(record["sizes"]),
    ]
    print("\n\n".join(parts), flush=True)
    if not options.print:
        write_results("stein", record)
        splice("bench-stein", "\n\n".join(parts))


if __name__ == "__main__":
    main()
