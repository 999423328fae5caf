"""Residual flows beside normflows, the library of flows in PyTorch that has them.

A training step (unbiased log-determinants, Adam, the power method), and the inverse;
what memory and compile time depend on. All in one process, taking turns; the tables are written
into docs/benchmarks.md.

    python benchmarks/bench_flows.py --widths 32 128 512 --blocks 8 --batch 256
"""

import argparse
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import normflows as nf
import numpy as np
import optax
import optimistix as optx
import torch

from _harness import compile_program, machine, markdown_table, race, splice, write_results
from pullback.calculus import Geometric, RouletteLogDet
from pullback.models.flows import (
    ResidualBlock,
    ResidualFlow,
    maximum_likelihood_loss,
    residual_flow,
)
from pullback.nn import LipschitzMLP, update_spectral_norms
from pullback.train import apply_gradient

PACKAGES = ("pullback", "jax", "jaxlib", "equinox", "optax", "normflows", "torch", "numpy")
_ADAM = optax.adam(1e-4)


def ours(dim: int, width: int, blocks: int) -> ResidualFlow:
    return residual_flow(
        dim, blocks=blocks, width=width, depth=2, bound=0.97, log_det=RouletteLogDet(),
        key=jr.key(0),
    )  # fmt: skip


def step(static: Any) -> Callable[..., Any]:
    """A training step of pullback, as `fit` takes it."""

    def take(params: Any, opt: Any, x: Any, key: Any) -> Any:
        flow = eqx.combine(params, static)
        gradient = eqx.filter_grad(lambda f: maximum_likelihood_loss(f, x, key=key)[0])(flow)
        flow, opt = apply_gradient(_ADAM, gradient, opt, flow)
        return eqx.filter(flow, eqx.is_array), opt

    return take


def floor_step(dim: int, width: int, blocks: int) -> tuple[Callable[..., Any], Any]:
    """The products of a step and nothing else: 4 terms, plain weights, gradient and Adam."""
    sizes = [dim, width, width, dim]
    keys = jr.split(jr.key(0), 3)
    params = [
        0.3 * jr.normal(k, (blocks, n_out, n_in)) / np.sqrt(n_in).item()
        for k, n_in, n_out in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]

    def net(weights: Any, x: Any) -> Any:
        for weight in weights:
            x = jax.nn.silu(x) @ weight.T
        return x

    def loss(params: Any, x: Any, probe: Any) -> Any:
        def block(carry: Any, weights: Any) -> Any:
            x, total = carry
            value, pull = jax.vjp(lambda x: net(weights, x), x)
            fixed = jax.lax.stop_gradient(pull)

            def add(_: Any, both: Any) -> Any:
                row, adjoint = both
                (row,) = fixed(row)
                return row, adjoint - row

            _, adjoint = jax.lax.fori_loop(0, 4, add, (probe, probe))
            return (x + value, total + jnp.vdot(pull(adjoint)[0], probe)), None

        (x, total), _ = jax.lax.scan(block, (x, jnp.zeros(())), params)
        return jnp.sum(x**2) / 2 - total

    def take(params: Any, opt: Any, x: Any, key: Any) -> Any:
        probe = jr.rademacher(key, x.shape, x.dtype)
        gradient = jax.grad(loss)(params, x, probe)
        return apply_gradient(_ADAM, gradient, opt, params)

    return take, params


def theirs(dim: int, width: int, blocks: int) -> nf.NormalizingFlow:
    torch.manual_seed(0)
    flows = []
    for _ in range(blocks):
        net = nf.nets.LipschitzMLP(
            [dim, width, width, dim], init_zeros=False, lipschitz_const=0.97, max_lipschitz_iter=5
        )
        flows += [nf.flows.Residual(net, reduce_memory=True), nf.flows.ActNorm(dim)]
    return nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), flows)


def measure(dim: int, width: int, options: argparse.Namespace) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(options.batch, dim)).astype(np.float32)
    flow = ours(dim, width, options.blocks)
    params, static = eqx.partition(flow, eqx.is_array)
    opt = _ADAM.init(eqx.filter(flow, eqx.is_inexact_array))
    points, keys = jnp.asarray(x), iter(jr.split(jr.key(1), 100_000))
    program, compiling = compile_program(step(static), params, opt, points, jr.key(0))
    bare, bare_params = floor_step(dim, width, options.blocks)
    bare_opt = _ADAM.init(bare_params)
    floor, _ = compile_program(bare, bare_params, bare_opt, points, jr.key(0))

    model = theirs(dim, width, options.blocks)
    adam, rows = torch.optim.Adam(model.parameters(), lr=1e-4), torch.from_numpy(x)
    model.train()

    def torch_step() -> None:
        adam.zero_grad()
        model.forward_kld(rows).backward()
        adam.step()
        nf.utils.update_lipschitz(model, 5)

    steps = race(
        {
            "pullback": lambda: jax.block_until_ready(program(params, opt, points, next(keys))),
            "floor": lambda: jax.block_until_ready(
                floor(bare_params, bare_opt, points, next(keys))
            ),
            "normflows": torch_step,
        },
        rounds=options.rounds,
    )
    model.eval()
    with torch.no_grad():
        base = model.inverse(rows)
    settled = update_spectral_norms(flow, rtol=1e-6, max_steps=5000)
    z, _ = settled.inverse_and_log_det(points, key=jr.key(0))
    settled.invert(z)

    def torch_inverse(tolerance: float) -> Any:
        with torch.no_grad():
            out = base
            for part in model.flows:
                block = getattr(part, "iresblock", None)
                if block is None:
                    out = part(out)[0]
                else:
                    out = block._inverse_fixed_point(out, tolerance, tolerance)
        return out

    plain = eqx.tree_at(
        lambda f: f.solver,
        settled,
        optx.FixedPointIteration(1e-6, 1e-6),
        is_leaf=lambda x: x is None,
    )
    # normflows compares the square of a step with its tolerance.
    ways: dict[str, Callable[[], Any]] = {
        "pullback, Newton (default)": lambda: jax.block_until_ready(settled.invert(z)[0]),
        "pullback, plain iteration": lambda: jax.block_until_ready(plain.invert(z)[0]),
        "normflows, as it is": lambda: torch_inverse(1e-5),
        "normflows, steps of 1e-6": lambda: torch_inverse(1e-12),
    }
    inverses = race(ways, rounds=options.rounds)
    errors = {name: float(np.max(np.abs(np.asarray(way()) - x))) for name, way in ways.items()}
    return {
        "steps": steps,
        "inverses": inverses,
        "compile": compiling.total,
        "errors": errors,
    }


def memory(caps: list[int]) -> dict[int, float]:
    """Temporary bytes of the gradient of one block, by the largest number of terms."""
    net = LipschitzMLP(64, 256, 2, key=jr.key(0))
    x, found = jr.normal(jr.key(1), (256, 64)), {}
    for cap in caps:
        block = ResidualBlock(net, log_det=RouletteLogDet(Geometric(0.5, cap=cap)))
        params, static = eqx.partition(block, eqx.is_array)

        def loss(params: Any, x: Any, key: Any, static: Any = static) -> Any:
            part = eqx.combine(params, static)
            one = lambda x, key: part.forward_and_log_det(x, key=key, shared=jr.key(0))[1]
            return jnp.sum(jax.vmap(one)(x, jr.split(key, len(x))))

        program, _ = compile_program(jax.grad(loss), params, x, jr.key(0))
        analysis = program.memory_analysis()  # pyrefly: ignore
        found[cap] = analysis.temp_size_in_bytes
    return found


def compile_times(numbers: list[int], repeats: int) -> dict[int, float]:
    """Seconds to compile a training step, by the number of blocks."""
    found = {}
    for number in numbers:
        flow = ours(8, 32, number)
        params, static = eqx.partition(flow, eqx.is_array)
        opt = _ADAM.init(eqx.filter(flow, eqx.is_inexact_array))
        x = jnp.zeros((256, 8))
        _, told = compile_program(step(static), params, opt, x, jr.key(0), repeats=repeats)
        found[number] = told.total
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=8, help="entries of a point")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--batch", type=int, default=256, help="points in a call")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each rival")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES)
    found = {width: measure(options.dim, width, options) for width in options.widths}
    bytes_, seconds = memory([5, 20, 100]), compile_times([2, 8, 32], 2)
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    rivals = ("pullback", "floor", "normflows")
    step_rows = [
        [
            str(width),
            *(f"{1e3 * row['steps'][name].median:.2f}" for name in rivals),
            f"{row['steps']['normflows'].median / row['steps']['pullback'].median:.1f}",
            f"{row['steps']['pullback'].median / row['steps']['floor'].median:.2f}",
            f"{row['compile']:.1f}",
        ]
        for width, row in found.items()
    ]
    inverse_rows = [
        [
            str(width),
            name,
            f"{1e3 * timing.min:.2f}",
            f"{timing.min / row['inverses']['normflows, steps of 1e-6'].min:.2f}",
            f"{row['errors'][name]:.1e}",
        ]
        for width, row in found.items()
        for name, timing in row["inverses"].items()
    ]
    text = "\n\n".join(
        [
            f"{where['cpu']}, {where['cores']} cores (PyTorch {torch.get_num_threads()} threads), "
            f"load {where['load_at_start']} at the start; Python {where['python']}, {versions}.",
            f"{options.blocks} blocks of {options.dim} entries, two hidden layers, an act-norm "
            f"each; batch {options.batch}; float32. A step draws the terms of each series (4 on "
            "average), takes the Neumann gradient, a step of Adam and one or more of the power "
            "method, of which normflows takes 5. The "
            "floor is the same products with 4 terms each, without bounds on the weights. Medians "
            "of the steps, since their number of terms is random.",
            markdown_table(
                ["width", "pullback ms", "floor ms", "normflows ms", "normflows / pullback",
                 "pullback / floor", "compile s"], step_rows,
            ),
            "The inverse of the same flows. As it is, normflows stops at steps of about 3e-3: it "
            "compares their square with its tolerance. Ratios are to normflows at steps of 1e-6.",
            markdown_table(["width", "inverse", "ms", "ratio", "largest error"], inverse_rows),
            "Temporary memory of the gradient of one block (64 entries, width 256, batch 256), by "
            "the largest number of terms: "
            + ", ".join(f"{cap}: {size / 1e6:.2f} MB" for cap, size in bytes_.items())
            + ". Seconds to compile a training step, by the number of blocks: "
            + ", ".join(f"{number}: {each:.1f}" for number, each in seconds.items()) + ".",
        ]
    )  # fmt: skip
    print(text)
    if not options.print:
        record = {"machine": where, "options": vars(options), "widths": found,
                  "memory": bytes_, "compile": seconds}  # fmt: skip
        write_results("flows", record)
        splice("bench-flows", text)


if __name__ == "__main__":
    main()
