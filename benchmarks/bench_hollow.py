"""The exact divergence of a hollow net beside the full trace and Hutchinson's estimate.

For each size of the state: the net alone, the net with its divergence, and the gradient of both
with respect to the weights and the states, in the ways that a flow may be trained. All in one
process, taking turns; the table is written into docs/benchmarks.md.

    python benchmarks/bench_hollow.py --dims 8 32 128 512 --batch 16
"""

import argparse
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from _harness import Timing, compile_program, machine, markdown_table, race, splice, write_results
from pullback.calculus import (
    AbstractDivergence,
    ExactDivergence,
    HollowDivergence,
    HutchinsonDivergence,
)
from pullback.nn import HollowNet, TwoSidedConditioner

PACKAGES = ("pullback", "jax", "jaxlib", "equinox", "numpy")
WAYS: dict[str, AbstractDivergence | None] = {
    "hollow net alone": None,
    "with its exact divergence": HollowDivergence(),
    "with one Hutchinson probe": HutchinsonDivergence(),
    "with the full trace": ExactDivergence(),
}
BASE = "with its exact divergence"


class AtTime(eqx.Module):
    """The net at one time, as a divergence takes it."""

    net: HollowNet

    def __call__(self, y):
        return self.net(0.5, y)

    def with_divergence(self, y):
        return self.net.with_divergence(0.5, y)


def net_of(dim: int, width: int) -> HollowNet:
    conditioner_key, key = jr.split(jr.key(0))
    conditioner = TwoSidedConditioner(dim, 8, max(width, dim), key=conditioner_key)
    return HollowNet(conditioner, 32, zero_last=False, key=key)


def value(way: AbstractDivergence | None, probe: Any) -> Callable[..., Any]:
    def one(net, y):
        field = AtTime(net)
        return (field(y), jnp.zeros(())) if way is None else way(field, y, probe)

    return lambda net, ys: jax.vmap(one, in_axes=(None, 0))(net, ys)


def gradient(way: AbstractDivergence | None, probe: Any) -> Callable[..., Any]:
    def loss(inputs):
        velocity, divergence = value(way, probe)(*inputs)
        return jnp.mean(velocity**2) + jnp.mean(divergence)

    return lambda net, ys: eqx.filter_grad(loss)((net, ys))


def measure(dim: int, task: Callable, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    net, ys = net_of(dim, options.width), jr.normal(jr.key(1), (options.batch, dim))
    calls, rows = {}, {}
    for name, way in WAYS.items():
        if isinstance(way, ExactDivergence) and dim > options.full_up_to:
            continue
        probe = None if way is None else way.probe(ys[0], key=jr.key(2))
        program, compiling = compile_program(task(way, probe), net, ys)
        calls[name] = lambda program=program: jax.block_until_ready(program(net, ys))
        cost = program.cost_analysis()  # pyrefly: ignore
        memory = program.memory_analysis()  # pyrefly: ignore
        rows[name] = {
            "flops": (cost[0] if isinstance(cost, list) else cost)["flops"],
            "bytes": memory.temp_size_in_bytes,
            "compile": compiling.total,
        }
    times = race(calls, rounds=options.rounds)
    return {name: {**row, "time": times[name]} for name, row in rows.items()}


def table(title: str, rows: dict[str, dict[str, Any]]) -> str:
    base = rows[BASE]
    header = [
        title, "ms", "median", "ratio", "Mflop", "ratio of flops", "temporary MB", "compile s",
    ]  # fmt: skip

    def cells(name: str, row: dict[str, Any]) -> list[str]:
        timing: Timing = row["time"]
        return [
            name,
            f"{1e3 * timing.min:.2f}",
            f"{1e3 * timing.median:.2f}",
            f"{timing.min / base['time'].min:.2f}",
            f"{row['flops'] / 1e6:.1f}",
            f"{row['flops'] / base['flops']:.2f}",
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['compile']:.1f}",
        ]

    return markdown_table(header, [cells(name, row) for name, row in rows.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", type=int, nargs="+", default=[8, 32, 128, 512])
    parser.add_argument("--batch", type=int, default=16, help="states in a call")
    parser.add_argument("--width", type=int, default=256, help="least hidden width of the net")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each rival")
    parser.add_argument(
        "--full-up-to", type=int, default=128, help="the largest size to take the full trace at"
    )
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES)
    record: dict[str, Any] = {"machine": where, "options": vars(options), "sizes": {}}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    parts = [
        f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start']} at the start; "
        f"Python {where['python']}, {versions}.",
        f"Batch of {options.batch} states; hidden width {options.width} (the size of the state "
        "where that is larger), 8 features a side, inner width 32; float32. Ratios are to the "
        "hollow net with its exact divergence. "
        f"The full trace is left out above d = {options.full_up_to}.",
    ]
    print("\n\n".join(parts), flush=True)
    for dim in options.dims:
        for title, task in (("value", value), ("gradient", gradient)):
            rows = measure(dim, task, options)
            record["sizes"][f"{dim} {title}"] = rows
            parts.append(table(f"d = {dim}, {title}", rows))
            print("\n" + parts[-1], flush=True)
    if not options.print:
        write_results("hollow", record)
        splice("bench-hollow", "\n\n".join(parts))


if __name__ == "__main__":
    main()
