"""Bounds on mutual information beside the bare arithmetic in them, and beside PyTorch.

Value and gradient, by the embeddings, of a batch of scores: InfoNCE beside the same product of
matrices with a bare logsumexp, and I_alpha beside InfoNCE. Rivals in PyTorch: torch-mist, and the
textbook's product and cross entropy. All in one process, taking turns; the table is written into
docs/benchmarks.md.

    python benchmarks/bench_mutual_information.py --batches 128 1000 --embedding 32
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
from jax.scipy.special import logsumexp
from torch_mist.critic import SeparableCritic as MistCritic
from torch_mist.estimators.discriminative.implementations.infonce import InfoNCE as MistInfoNCE

from _harness import Timing, compile_program, machine, markdown_table, race, splice, write_results
from pullback.bounds import infonce, interpolated, nwj

PACKAGES = ("pullback", "jax", "jaxlib", "numpy", "torch", "torch-mist")
FLOOR = "floor: product and logsumexp"
NCE, MIXED = "pullback infonce", "pullback interpolated, alpha 0.01"


def of_scores(scores: jax.Array, log_q: jax.Array) -> dict[str, Callable[[], jax.Array]]:
    """What is made of a matrix of scores."""
    return {
        FLOOR: lambda: jnp.mean(logsumexp(scores, axis=1)),
        NCE: lambda: infonce(scores),
        "pullback nwj": lambda: nwj(scores),
        MIXED: lambda: interpolated(scores, log_q, 0.01),
    }


def jax_task(name: str) -> Callable[..., Any]:
    def value(x, y, log_q):
        return of_scores(y @ x.T / math.sqrt(x.shape[1]), log_q)[name]()

    return jax.value_and_grad(value, argnums=(0, 1))


def torch_infonce(scores: torch.Tensor) -> torch.Tensor:
    """The textbook's: a classification of which x belongs to each y."""
    return math.log(len(scores)) - torch.nn.functional.cross_entropy(
        scores, torch.arange(len(scores))
    )


def torch_interpolated(scores: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """As the authors' notebook has it: log(1 - e^d) takes one out, guarded at the largest."""
    size, alpha = len(scores), 0.01
    total = torch.logsumexp(scores, dim=1, keepdim=True)
    share = torch.clamp(scores - total, max=-1e-6)
    loo = total + torch.log(-torch.expm1(share)) - math.log(size - 1)
    base = torch.logaddexp(math.log(alpha) + loo, math.log1p(-alpha) + log_q[:, None])
    own, pairs = torch.diagonal(scores), size * (size - 1)
    joint = own.mean() - (base.sum() - torch.diagonal(base).sum()) / pairs
    ratio = scores - torch.diagonal(base)[:, None]
    ratio = ratio.masked_fill(torch.eye(size, dtype=torch.bool), -math.inf)
    return 1 + joint - torch.exp(torch.logsumexp(ratio.flatten(), dim=0) - math.log(pairs))


def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return y @ x.T / math.sqrt(x.shape[1])


def mist_infonce(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    # Its negatives are those of its second argument.
    return MistInfoNCE(MistCritic(temperature=math.sqrt(x.shape[1]))).mutual_information(y, x)


def torch_call(task: Callable[..., torch.Tensor], *arrays) -> Callable[[], float]:
    x, y, *rest = (torch.tensor(np.array(each)) for each in arrays)
    x.requires_grad_()
    y.requires_grad_()

    def call() -> float:
        value = task(x, y, *rest)
        torch.autograd.grad(value, (x, y))
        return float(value)

    return call


def measure(batch: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    keys = jr.split(jr.key(0), 3)
    x, y = (jr.normal(key, (batch, options.embedding)) for key in keys[:2])
    log_q = jr.normal(keys[2], (batch,))
    calls, rows = {}, {}
    for name in of_scores(jnp.zeros((2, 2)), log_q):
        program, compiling = compile_program(jax_task(name), x, y, log_q)
        calls[name] = lambda program=program: jax.block_until_ready(program(x, y, log_q))
        memory = program.memory_analysis()  # pyrefly: ignore
        rows[name] = {
            "compile": compiling.total,
            "bytes": memory.temp_size_in_bytes,
            "value": float(program(x, y, log_q)[0]),
        }
    rivals = {
        "torch-mist infonce": torch_call(mist_infonce, x, y),
        "torch product and cross entropy": torch_call(
            lambda x, y: torch_infonce(product(x, y)), x, y
        ),
        "torch I_alpha as in the notebook": torch_call(
            lambda x, y, q: torch_interpolated(product(x, y), q), x, y, log_q
        ),
    }
    for name, call in rivals.items():
        calls[name], rows[name] = call, {"value": call()}
    times = race(calls, rounds=options.rounds)
    return {name: {**row, "time": times[name]} for name, row in rows.items()}


def table(batch: int, rows: dict[str, dict[str, Any]]) -> str:
    header = [
        f"B = {batch}", "ms", "median", "/ floor", "/ infonce", "temporary MB", "compile s",
        "value",
    ]  # fmt: skip

    def cells(name: str, row: dict[str, Any]) -> list[str]:
        timing: Timing = row["time"]
        over = lambda other: f"{timing.min / rows[other]['time'].min:.2f}"
        return [
            name,
            f"{1e3 * timing.min:.3f}",
            f"{1e3 * timing.median:.3f}",
            over(FLOOR),
            over(NCE),
            f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else "",
            f"{row['compile']:.2f}" if "compile" in row else "",
            f"{row['value']:.4f}",
        ]

    return markdown_table(header, [cells(name, row) for name, row in rows.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 1000])
    parser.add_argument("--embedding", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=20, help="turns of each rival")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES)
    record: dict[str, Any] = {"machine": where, "options": vars(options), "sizes": {}}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    parts = [
        f"{where['cpu']}, {where['cores']} cores (PyTorch {torch.get_num_threads()} threads), load "
        f"{where['load_at_start']} at the start; Python {where['python']}, {versions}.",
        f"Value and gradient by both embeddings (size {options.embedding}), float32; the product "
        "of the embeddings is in every row. The floor's value is not a bound.",
    ]
    print("\n\n".join(parts), flush=True)
    for batch in options.batches:
        rows = measure(batch, options)
        record["sizes"][str(batch)] = rows
        parts.append(table(batch, rows))
        print("\n" + parts[-1], flush=True)
    if not options.print:
        write_results("mutual_information", record)
        splice("bench-mutual-information", "\n\n".join(parts))


if __name__ == "__main__":
    main()
