"""What a training step of a residual block costs by each log-determinant: `make bench-log_det`.

The gradient, with respect to the weights, of the mean log-determinant of a block of 64 entries
(64-256-256-64, a batch of 64). The roulette is timed at its mean number of terms, four. The floor
is as many vector-Jacobian products in one bare scan without weights or signs, and one gradient
through the last; PyTorch does the Neumann series as the authors' code does, product by product.
One process, the rivals taking turns.
"""

import argparse
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import torch

from _harness import compile_program, machine, markdown_table, race, splice, write_results
from pullback.calculus import ExactLogDet, RouletteLogDet, TruncatedLogDet
from pullback.nn import LipschitzMLP

PACKAGES = ("pullback", "jax", "jaxlib", "equinox", "torch")
DIM, WIDTH, BATCH, TERMS = 64, 256, 64, 4


def by(method: Any, stop: int | None) -> Callable[..., Any]:
    """The gradient by one of the library's methods."""
    stop_at = None if stop is None else jnp.asarray(stop)

    def mean(net: Any, x: Any, keys: Any) -> Any:
        one = lambda x, key: method(net, x, key=key, stop=stop_at)[1]
        return jnp.mean(jax.vmap(one)(x, keys))

    return eqx.filter_grad(mean)


def floor(net: Any, x: Any, keys: Any) -> Any:
    """Vector-Jacobian products in a bare scan, and a gradient through the last."""

    def mean(net: Any) -> Any:
        def one(x: Any, key: Any) -> Any:
            probe = jr.rademacher(key, x.shape, x.dtype)
            _, pull = jax.vjp(net, x)
            fixed = jax.lax.stop_gradient(pull)
            row, _ = jax.lax.scan(lambda v, _: (fixed(v)[0], None), probe, length=TERMS)
            return jnp.vdot(pull(row)[0], probe)

        return jnp.mean(jax.vmap(one)(x, keys))

    return eqx.filter_grad(mean)(net)


def torch_rival(weights: list[Any], x: Any) -> Callable[[], Any]:
    """The Neumann series as the authors' code has it, at the same number of terms."""
    layers = [torch.tensor(jax.device_get(w), requires_grad=True) for w in weights]
    points = torch.tensor(jax.device_get(x))

    def g(x: Any) -> Any:
        for layer in layers:
            x = (x * torch.sigmoid(0.974 * x) / 1.1) @ layer.T
        return x

    def call() -> Any:
        inputs = points.clone().requires_grad_()
        probe = torch.randint(0, 2, inputs.shape).to(inputs) * 2 - 1
        out = g(inputs)
        row = total = probe
        for k in range(1, TERMS + 1):
            (row,) = torch.autograd.grad(out, inputs, row, retain_graph=True)
            total = total + (-1) ** k * row
        (last,) = torch.autograd.grad(out, inputs, total, create_graph=True)
        return torch.autograd.grad((last * probe).sum(1).mean(), layers)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="turns of each rival")
    parser.add_argument("--print", action="store_true", help="print the table and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES)
    net = LipschitzMLP(DIM, WIDTH, 2, bound=0.9, key=jr.key(0))
    x, keys = jr.normal(jr.key(1), (BATCH, DIM)), jr.split(jr.key(2), BATCH)
    methods = {
        "floor: 4 products in a scan": floor,
        "RouletteLogDet, 4 terms": by(RouletteLogDet(), TERMS - 2),
        "TruncatedLogDet(4)": by(TruncatedLogDet(TERMS), None),
        "TruncatedLogDet(20)": by(TruncatedLogDet(20), None),
        "RouletteLogDet, 20 terms": by(RouletteLogDet(), 18),
        "ExactLogDet": by(ExactLogDet(), None),
    }
    calls, compiles, sizes = {}, {}, {}
    arrays, static = eqx.partition(net, eqx.is_array)
    for name, method in methods.items():
        run = lambda arrays, x, keys, method=method: method(eqx.combine(arrays, static), x, keys)
        program, compiles[name] = compile_program(run, arrays, x, keys)
        found = program.memory_analysis()  # pyright: ignore[reportFunctionMemberAccess]
        sizes[name] = found.temp_size_in_bytes
        calls[name] = lambda program=program: jax.block_until_ready(program(arrays, x, keys))
    weights = [layer.effective_weight() for layer in net.layers]
    calls["PyTorch, 4 terms"] = torch_rival(weights, x)
    times = race(calls, rounds=options.rounds)
    first = times["floor: 4 products in a scan"].min
    rows = [
        [
            name,
            f"{1e3 * time.min:.2f}",
            f"{1e3 * time.median:.2f}",
            f"{time.min / first:.2f}",
            f"{compiles[name].total:.1f}" if name in compiles else "",
            f"{sizes[name] / 1e6:.2f}" if name in sizes else "",
        ]
        for name, time in times.items()
    ]
    table = markdown_table(
        ["gradient of a log-determinant", "least ms", "median ms", "ratio", "compile s", "MB"], rows
    )
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    text = (
        f"{where['cpu']}, {where['cores']} cores (PyTorch {torch.get_num_threads()} threads), load "
        f"{where['load_at_start']} at the start; Python {where['python']}, {versions}.\n\n"
        f"Float32, {DIM} entries, a net {DIM}-{WIDTH}-{WIDTH}-{DIM}, a batch of {BATCH}; MB are "
        f"XLA's temporaries.\n\n{table}"
    )
    print(text)
    if not options.print:
        write_results(
            "log_det",
            {"machine": where, "options": vars(options), "times": times, "compile": compiles,
             "bytes": sizes},
        )  # fmt: skip
        splice("bench-log_det", text)


if __name__ == "__main__":
    main()
