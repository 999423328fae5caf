"""A flow of splines beside FlowJAX alone, whose bijections it is made of.

The same layers and weights: a training step (Adam), log-densities and draws, and the time to
compile the step. All in one process, taking turns; the tables are written into docs/benchmarks.md.

    python benchmarks/bench_splines.py --dims 2 8 --batch 256
"""

import argparse
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from flowjax.distributions import StandardNormal as TheirNormal
from flowjax.distributions import Transformed

from _harness import compile_program, machine, markdown_table, race, splice, write_results
from pullback.models.flows import ResidualFlow, maximum_likelihood_loss, spline_coupling_flow
from pullback.sampling import StandardNormal
from pullback.train import apply_gradient

PACKAGES = ("pullback", "jax", "jaxlib", "equinox", "optax", "flowjax", "paramax")
_ADAM = optax.adam(1e-3)


def ours_and_theirs(dim: int, layers: int, width: int) -> tuple[ResidualFlow, Any]:
    """The layers without the act-norm, which FlowJAX does not have."""
    flow: Any = spline_coupling_flow(dim, layers=layers, width=width, key=jr.key(0))
    part = flow.bijection.parts[-1]
    return ResidualFlow(part, StandardNormal(dim)), Transformed(TheirNormal((dim,)), part.bijection)


def step(model: Any, loss: Any) -> tuple[Any, Any, Any]:
    """A program's function, its parameters and the state of the optimiser."""
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def take(params: Any, state: Any, x: Any, key: Any) -> Any:
        gradient = jax.grad(lambda p: loss(eqx.combine(p, static), x, key))(params)
        return apply_gradient(_ADAM, gradient, state, params)

    return take, params, _ADAM.init(params)


def measure(dim: int, options: argparse.Namespace) -> dict[str, Any]:
    ours, theirs = ours_and_theirs(dim, options.layers, options.width)
    x, key = jr.normal(jr.key(1), (options.batch, dim)), jr.key(2)
    rivals = {
        "pullback": (ours, lambda m, x, key: maximum_likelihood_loss(m, x, key=key)[0]),
        "FlowJAX": (theirs, lambda m, x, key: -jnp.mean(m.log_prob(x))),
    }
    steps, scores, draws, compiling = {}, {}, {}, {}
    for name, (model, loss) in rivals.items():
        take, params, state = step(model, loss)
        program, told = compile_program(take, params, state, x, key, repeats=options.compiles)
        compiling[name] = told.total
        arrays, static = eqx.partition(model, eqx.is_array)
        log_prob = jax.jit(lambda a, x, s=static: eqx.combine(a, s).log_prob(x))
        sample = jax.jit(lambda a, key, s=static: eqx.combine(a, s).sample(key, (options.batch,)))
        steps[name] = lambda run=program, p=params, s=state: jax.block_until_ready(
            run(p, s, x, key)
        )
        scores[name] = lambda run=log_prob, a=arrays: jax.block_until_ready(run(a, x))
        draws[name] = lambda run=sample, a=arrays: jax.block_until_ready(run(a, key))
    apart = float(jnp.max(jnp.abs(scores["pullback"]() - scores["FlowJAX"]())))
    found = {"step": steps, "log-density": scores, "draws": draws}
    timed = {name: race(calls, rounds=options.rounds) for name, calls in found.items()}
    return {"times": timed, "compile": compiling, "apart": apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 8], help="entries of a point")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256, help="points in a call")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each rival")
    parser.add_argument("--compiles", type=int, default=2, help="compilations, the best counts")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES)
    found = {dim: measure(dim, options) for dim in options.dims}
    rows = [
        [
            str(dim),
            what,
            *(f"{1e3 * timing[name].min:.2f}" for name in ("pullback", "FlowJAX")),
            f"{timing['pullback'].min / timing['FlowJAX'].min:.2f}",
        ]
        for dim, row in found.items()
        for what, timing in row["times"].items()
    ]
    compiled = "; ".join(
        f"{dim} entries: "
        + ", ".join(f"{name} {each:.1f}" for name, each in row["compile"].items())
        for dim, row in found.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    text = "\n\n".join(
        [
            f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start']} at the start; "
            f"Python {where['python']}, {versions}.",
            f"{options.layers} layers of width {options.width}, the same bijections and weights "
            f"behind `ResidualFlow` and FlowJAX's `Transformed`; batch {options.batch}; float32. "
            "Log-densities are apart by at most "
            f"{max(row['apart'] for row in found.values()):.0e}.",
            markdown_table(["entries", "what", "pullback ms", "FlowJAX ms", "ratio"], rows),
            f"Seconds to compile a step: {compiled}.",
        ]
    )
    print(text)
    if not options.print:
        write_results("splines", {"machine": where, "options": vars(options), "dims": found})
        splice("bench-splines", text)


if __name__ == "__main__":
    main()
