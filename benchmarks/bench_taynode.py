"""The order-K regulariser: Taylor mode beside nested JVPs, and a deferred penalty beside a full.

The first table is the value of mean |d^K z/dt^K|^2 and its gradient with respect to the weights, by
each method of `total_derivatives`, for K = 2 to 7. The second is a training step, the value and the
gradient of mean(z(1)^2) + 0.1 R_K over 4 fixed Dopri5 steps, with R_K integrated in the forward
pass (`Replay`, `Backsolve`) and without (`DeferredPenalty` of either), for K = 1 to 4. The field is
a 64-100-64 tanh network that sees the time, float32, a batch of 100.

    python benchmarks/bench_taynode.py --orders 2 3 4 --rounds 5
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from _harness import compile_program, machine, markdown_table, race, splice, write_results
from pullback.calculus import total_derivatives
from pullback.nn import ConcatMLP
from pullback.ode import (
    AbstractAdjoint,
    Backsolve,
    DeferredPenalty,
    Regularised,
    Replay,
    TaylorEnergy,
    solve,
    state_norm,
)

DIM, WIDTH, BATCH, STEPS = 64, 100, 100, 4
PACKAGES = ("pullback", "jax", "jaxlib", "diffrax")
METHODS = ("taylor", "nested")
ADJOINTS: dict[str, AbstractAdjoint] = {
    "Replay": Replay(),
    "DeferredPenalty(Replay)": DeferredPenalty(),
    "Backsolve": Backsolve(),
    "DeferredPenalty(Backsolve)": DeferredPenalty(Backsolve()),
}


def derivative_loss(method: str, order: int, net: ConcatMLP, ys: jax.Array) -> jax.Array:
    """The rate of R_K at one time."""
    rates = jax.vmap(lambda y: total_derivatives(net, 0.3, y, None, order, method=method)[-1])(ys)
    return jnp.mean(jnp.square(rates))


def training_loss(adjoint: AbstractAdjoint, order: int, net: ConcatMLP, y0: jax.Array) -> jax.Array:
    """The loss of a training step; K = 0 is the one without a regulariser."""
    f = lambda t, y, net: jax.vmap(net, (None, 0))(t, y)
    field = Regularised(f, (TaylorEnergy(order),) if order else ())
    options = {"steps": STEPS, "adjoint": adjoint, "norm": state_norm, "throw": False}
    ys, integrals = solve(field, field.start(y0), [0.0, 1.0], net, **options).ys
    return jnp.mean(jnp.square(ys[-1])) + 0.1 * sum(r[-1] for r in integrals)


def measure(losses: dict[str, Callable[..., Any]], inputs: tuple, rounds: int) -> dict[str, dict]:
    """Compile time and run time of the value and gradient of each loss, the rivals in turns."""
    programs = {n: compile_program(jax.value_and_grad(f), *inputs) for n, f in losses.items()}
    calls = {
        name: functools.partial(lambda p: jax.block_until_ready(p(*inputs)), program)
        for name, (program, _) in programs.items()
    }
    timings = race(calls, rounds=rounds)
    return {
        name: {
            "run_ms": 1e3 * timings[name].min,
            "run_ms_median": 1e3 * timings[name].median,
            "compile_s": compile_time.total,
        }
        for name, (_, compile_time) in programs.items()
    }


def derivatives_table(rows: dict[int, dict]) -> str:
    header = ("K", "Taylor ms", "nested ms", "nested / Taylor", "Taylor compile s",
              "nested compile s", "nested / Taylor")  # fmt: skip
    cells = []
    for order, row in rows.items():
        line = [str(order)]
        for what, places in (("run_ms", 3), ("compile_s", 2)):
            taylor, nested = row["taylor"][what], row["nested"][what]
            line += [f"{taylor:.{places}f}", f"{nested:.{places}f}", f"{nested / taylor:.2f}"]
        cells.append(line)
    return markdown_table(header, cells)


def steps_table(rows: dict[int, dict]) -> str:
    header = ["K"]
    for name in ("Replay", "Backsolve"):
        header += [f"{name} ms", f"DeferredPenalty({name}) ms", "deferred / full"]
    cells = []
    for order, row in rows.items():
        line = [str(order) if order else "none"]
        for name in ("Replay", "Backsolve"):
            full, deferred = row[name]["run_ms"], row[f"DeferredPenalty({name})"]["run_ms"]
            line += [f"{full:.2f}", f"{deferred:.2f}", f"{deferred / full:.2f}"]
        cells.append(line)
    return markdown_table(header, cells)


def main(orders: Sequence[int], step_orders: Sequence[int], rounds: int, save: bool) -> None:
    net = ConcatMLP(DIM, WIDTH, 1, zero_last=False, key=jr.key(0))
    # Arrays alone, so that `jax.jit` takes it: the activation is static.
    inputs = (net, jr.normal(jr.key(1), (BATCH, DIM)))
    about = machine(PACKAGES)
    derivatives, steps = {}, {}
    for order in orders:
        losses = {m: functools.partial(derivative_loss, m, order) for m in METHODS}
        derivatives[order] = measure(losses, inputs, rounds)
        print(f"K = {order}: {derivatives[order]}", flush=True)
    for order in step_orders:
        losses = {n: functools.partial(training_loss, a, order) for n, a in ADJOINTS.items()}
        steps[order] = measure(losses, inputs, rounds)
        print(f"training step, K = {order}: {steps[order]}", flush=True)
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    text = (
        f"{about['cpu']}, {about['cores']} cores, load {about['load_at_start']} at the start; "
        f"{versions}.\n\n"
        "The squared K-th derivative and its gradient (64-100-64 tanh network, batch 100, "
        f"float32), least time of a call:\n\n{derivatives_table(derivatives)}\n\n"
        f"A training step over {STEPS} fixed Dopri5 steps, the regulariser in the forward pass or "
        f"not:\n\n{steps_table(steps)}"
    )
    print(text)
    if save:
        write_results("taynode", {"machine": about, "derivatives": derivatives, "steps": steps})
        splice("bench-taynode", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, nargs="+", default=[2, 3, 4, 5, 6, 7])
    parser.add_argument("--step-orders", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    main(options.orders, options.step_orders, options.rounds, not options.print)
