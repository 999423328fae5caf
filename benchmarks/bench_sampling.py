"""What one gradient through binary latents costs, by each estimator, beside storchastic's.

An autoencoder's encoder, decoder and, where there is one, control variate: the gradient of all
three for a batch of images. All in one process, taking turns; the tables are written into
docs/benchmarks.md.

    python benchmarks/bench_sampling.py --latents 32 200 --batch 50
"""

import argparse
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist

from _harness import Timing, compile_program, machine, markdown_table, race, splice, write_results
from pullback.sampling import (
    AbstractEstimator,
    GumbelSoftmax,
    NeuralControlVariate,
    Relax,
    ScoreFunction,
    expectation,
    rebar,
)

PACKAGES = ("pullback", "jax", "jaxlib", "equinox", "numpyro", "numpy")
PEERS = ("torch", "storchastic")
BASE = "score function"


def estimators(latents: int) -> dict[str, tuple[AbstractEstimator, int]]:
    """Each with its number of samples."""
    net = eqx.nn.MLP(latents, "scalar", 50, 1, jnp.tanh, key=jr.key(3))
    return {
        BASE: (ScoreFunction(), 1),
        "leave one out, 4 samples": (ScoreFunction("leave_one_out"), 4),
        "Gumbel-softmax": (GumbelSoftmax(0.5), 1),
        "REBAR": (rebar(), 1),
        "RELAX, network": (Relax(NeuralControlVariate(net)), 1),
        "RELAX, network and integrand": (Relax(NeuralControlVariate(net, residual=True)), 1),
    }


def gradient(samples: int):
    """Of the mean negative log-likelihood, with respect to both networks and the estimator."""

    def of(inputs: Any, x: jax.Array, key: jax.Array) -> Any:
        def loss(inputs: Any) -> jax.Array:
            encoder, decoder, estimator = inputs

            def one(x: jax.Array, key: jax.Array) -> jax.Array:
                def f(z: jax.Array, q: Any) -> jax.Array:
                    logits = decoder(z.astype(x.dtype))
                    return jnp.sum(jax.nn.softplus(logits) - x * logits)

                q = dist.BernoulliLogits(encoder(x))
                return expectation(f, q, estimator=estimator, num_samples=samples, key=key)

            return jnp.mean(jax.vmap(one)(x, jr.split(key, len(x))))

        return eqx.filter_grad(loss)(inputs)

    return of


def measure(latents: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    pixels, width, batch = options.pixels, options.width, options.batch
    keys = jr.split(jr.key(0), 2)
    encoder = eqx.nn.MLP(pixels, latents, width, 1, jnp.tanh, key=keys[0])
    decoder = eqx.nn.MLP(latents, pixels, width, 1, jnp.tanh, key=keys[1])
    x = jr.bernoulli(jr.key(1), 0.5, (batch, pixels)).astype(float)
    calls, rows = {}, {}
    for name, (estimator, samples) in estimators(latents).items():
        params, rest = eqx.partition((encoder, decoder, estimator), eqx.is_array)
        of = gradient(samples)

        def arrays(params: Any, x: jax.Array, key: jax.Array, of=of, rest=rest) -> Any:
            return eqx.filter(of(eqx.combine(params, rest), x, key), eqx.is_array)

        program, compiling = compile_program(arrays, params, x, jr.key(2))
        calls[name] = lambda program=program, params=params: jax.block_until_ready(
            program(params, x, jr.key(2))
        )
        cost = program.cost_analysis()  # pyrefly: ignore
        rows[name] = {
            "flops": (cost[0] if isinstance(cost, list) else cost)["flops"],
            "compile": compiling.total,
        }
    if options.peer:
        import _sampling_torch

        for name, call in _sampling_torch.calls(pixels, latents, width, batch).items():
            calls[f"storchastic: {name}"] = call
            rows[f"storchastic: {name}"] = {}
    times = race(calls, rounds=options.rounds)
    return {name: {**row, "time": times[name]} for name, row in rows.items()}


def table(title: str, rows: dict[str, dict[str, Any]]) -> str:
    base = rows[BASE]
    header = [title, "ms", "median", "ratio", "Mflop", "ratio of flops", "compile s"]

    def cells(name: str, row: dict[str, Any]) -> list[str]:
        timing: Timing = row["time"]
        counted = (
            [
                f"{row['flops'] / 1e6:.0f}",
                f"{row['flops'] / base['flops']:.2f}",
                f"{row['compile']:.1f}",
            ]
            if row.get("flops")
            else ["", "", ""]
        )
        return [
            name,
            f"{1e3 * timing.min:.2f}",
            f"{1e3 * timing.median:.2f}",
            f"{timing.min / base['time'].min:.2f}",
            *counted,
        ]

    return markdown_table(header, [cells(name, row) for name, row in rows.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=int, nargs="+", default=[32, 200])
    parser.add_argument("--pixels", type=int, default=784)
    parser.add_argument("--width", type=int, default=200, help="hidden units of both networks")
    parser.add_argument("--batch", type=int, default=50, help="images in a call")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each rival")
    parser.add_argument(
        "--peer", action=argparse.BooleanOptionalAction, default=True, help="time storchastic too"
    )
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES + PEERS * options.peer)
    record: dict[str, Any] = {"machine": where, "options": vars(options), "sizes": {}}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    parts = [
        f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start']} at the start; "
        f"Python {where['python']}, {versions}.",
        f"One gradient of an autoencoder with binary latents: {options.pixels} pixels, "
        f"{options.width} hidden units each side, a batch of {options.batch} images; float32. The "
        "control variate's network has 50 hidden units; where there is one, its gradient, that of "
        "the variance, is part of the call. Ratios are to the score function without a baseline.",
    ]
    print("\n\n".join(parts), flush=True)
    for latents in options.latents:
        rows = measure(latents, options)
        record["sizes"][str(latents)] = rows
        parts.append(table(f"{latents} latents", rows))
        print("\n" + parts[-1], flush=True)
    if not options.print:
        write_results("sampling", record)
        splice("bench-sampling", "\n\n".join(parts))


if __name__ == "__main__":
    main()
