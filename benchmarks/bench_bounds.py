"""What a gradient of a bound on the evidence costs, beside its rivals: `make bench-bounds`.

Value and gradient for all weights of an autoencoder of binary images, at equal sample size: ELBOs,
importance-weighted bounds, and SUMO beside the bound of the same expected cost; and a normal of
100 dimensions fitted to another, beside FlowJAX. One process, the rivals taking turns.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import numpyro.infer
import pyro.infer
import torch
from flowjax.distributions import Normal as FlowNormal
from flowjax.train.losses import ElboLoss

import _bounds_peers as peers
from _harness import compile_program, machine, markdown_table, race, splice, write_results
from pullback.bounds import ELBO, ImportanceWeighted, ragged_sumo
from pullback.calculus import HarmonicTail, RaggedTerms, ragged_terms
from pullback.models.vae import VAE, Bernoulli, BoundLoss, mlp_vae
from pullback.sampling import (
    DoublyReparameterised,
    PathDerivative,
    Reparameterised,
    log_prob,
)

PACKAGES = (
    "pullback", "jax", "jaxlib", "equinox", "numpyro", "flowjax", "torch", "pyro-ppl", "numpy",
)  # fmt: skip
TRUNCATION = HarmonicTail(cap=110)
BATCH = 100


class Size(NamedTuple):
    """Of the autoencoder: pixels, hidden layers' width, latent numbers, importance samples."""

    pixels: int
    width: int
    latent: int
    samples: int


SIZES = (Size(64, 64, 2, 15), Size(784, 200, 50, 15))


def compiled(loss: Callable, vae: VAE, *rest: Any) -> tuple[Callable[[], object], float, Any]:
    """A call of the loss's value and gradient, its compile time, and the value."""
    params, static = eqx.partition(vae, eqx.is_inexact_array)
    function = jax.value_and_grad(lambda params, *rest: loss(eqx.combine(params, static), *rest))
    program, time = compile_program(function, params, *rest)
    value = float(program(params, *rest)[0])
    return lambda: jax.block_until_ready(program(params, *rest)), time.total, value


def ours(bound: Any, estimator: Any) -> Callable:
    loss = BoundLoss(bound, estimator)
    return lambda vae, x, key: loss(vae, x, key=key)[0]


def sumo_loss(exact: int) -> Callable:
    """Minus the mean SUMO estimate, by the flat list of the samples that it needs."""

    def loss(
        vae: VAE, x: jax.Array, key: jax.Array, needed: RaggedTerms, stop: jax.Array
    ) -> jax.Array:
        posteriors = jax.vmap(vae.posterior)(x)
        rows = jax.tree.map(lambda a: a[needed.row], posteriors)

        def log_weight(q: Any, x: jax.Array, key: jax.Array) -> jax.Array:
            z = q.sample(key)
            return vae.model(x)(z) - log_prob(q, z)

        weights = jax.vmap(log_weight)(rows, x[needed.row], jr.split(key, len(needed.row)))
        return -jnp.mean(ragged_sumo(weights, needed, TRUNCATION, stop, exact=exact))

    return loss


def sumo_steps(vae: VAE, x: jax.Array, key: jax.Array, k: int, steps: int) -> tuple:
    """A call of `steps` SUMO gradients, each with draws of its own, and what it is made of."""
    exact = round(k - float(TRUNCATION.mean()))
    programs, calls, compiling, total = {}, [], 0.0, 0
    params, static = eqx.partition(vae, eqx.is_inexact_array)
    loss = sumo_loss(exact)
    function = jax.value_and_grad(lambda params, *rest: loss(eqx.combine(params, static), *rest))
    for step in range(steps):
        stop = np.asarray(TRUNCATION.sample((len(x),), key=jr.fold_in(key, step)))
        needed = jax.tree.map(jnp.asarray, ragged_terms(stop, exact=exact))
        total += int(np.sum(stop + exact))
        arguments = (params, x, key, needed, jnp.asarray(stop))
        shape = len(needed.row)
        if shape not in programs:
            programs[shape], time = compile_program(function, *arguments)
            compiling += time.total
        calls.append((programs[shape], arguments))

    def call() -> None:
        for program, arguments in calls:
            jax.block_until_ready(program(*arguments))

    about = {"programs": len(programs), "samples": total / steps / len(x), "exact": exact}
    return call, compiling, about


def measure_vae(size: Size, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The three groups of rivals at one size."""
    key = jr.key(0)
    sizes = (size.pixels, size.latent, size.width, 2)
    vae = mlp_vae(*sizes, jnp.tanh, likelihood=Bernoulli(), key=key)
    x = jr.bernoulli(key, 0.3, (BATCH, size.pixels)).astype(float)
    k = size.samples
    elbo, renyi = numpyro.infer.Trace_ELBO(), numpyro.infer.RenyiELBO(alpha=0, num_particles=k)
    mean_field = numpyro.infer.TraceMeanField_ELBO()
    groups: dict[str, dict[str, Callable]] = {
        "ELBO, sampled": {
            "floor: by hand": peers.floor(1, False),
            "pullback, total": ours(ELBO(), Reparameterised()),
            "pullback, path": ours(ELBO(), PathDerivative()),
            "numpyro Trace_ELBO": peers.numpyro_loss(elbo),
        },
        "ELBO, analytic": {
            "floor: by hand": peers.floor(1, True),
            "pullback": ours(ELBO("analytic"), Reparameterised()),
            "numpyro TraceMeanField_ELBO": peers.numpyro_loss(mean_field),
        },
        f"weighted, k = {k}": {
            "floor: by hand": peers.floor(k, False),
            "pullback, total": ours(ImportanceWeighted(k), Reparameterised()),
            "pullback, doubly": ours(ImportanceWeighted(k), DoublyReparameterised()),
            "numpyro RenyiELBO": peers.numpyro_loss(renyi),
        },
    }
    torch_peers = {
        "ELBO, sampled": ("pyro Trace_ELBO", pyro.infer.Trace_ELBO()),
        "ELBO, analytic": ("pyro TraceMeanField_ELBO", pyro.infer.TraceMeanField_ELBO()),
        f"weighted, k = {k}": (
            "pyro RenyiELBO",
            pyro.infer.RenyiELBO(alpha=0, num_particles=k, vectorize_particles=True),
        ),
    }
    found = {}
    for group, losses in groups.items():
        calls, rows = {}, {}
        for name, loss in losses.items():
            calls[name], compiling, value = compiled(loss, vae, x, key)
            rows[name] = {"compile": compiling, "value": value}
        name, objective = torch_peers[group]
        calls[name] = peers.pyro_call(objective, vae, x)
        rows[name] = {"value": calls[name]()}
        timings = race(calls, rounds=options.rounds)
        found[group] = {name: {**row, "time": timings[name]} for name, row in rows.items()}
    steps = options.sumo_steps
    bound, _, _ = compiled(ours(ImportanceWeighted(k), Reparameterised()), vae, x, key)
    series, compiling, about = sumo_steps(vae, x, key, k, steps)
    timings = race(
        {"bound": lambda: [bound() for _ in range(steps)], "sumo": series}, rounds=options.rounds
    )
    found[f"{steps} steps at {k} expected samples"] = {
        f"pullback, weighted bound of {k}": {"time": timings["bound"]},
        f"pullback, SUMO with m = {about['exact']}, {about['samples']:.1f} samples drawn, "
        f"{about['programs']} programs": {"time": timings["sumo"], "compile": compiling},
    }
    return found


def measure_normal(options: argparse.Namespace, dims: int = 100, samples: int = 16) -> dict:
    """A diagonal normal fitted to another: minus the ELBO of 16 samples."""
    target = dist.Normal(jnp.ones(dims), 2.0).to_event(1).log_prob
    key, calls, rows = jr.key(0), {}, {}

    def by_hand(params: tuple, key: jax.Array) -> jax.Array:
        mean, log_std = params
        z = mean + jnp.exp(log_std) * jr.normal(key, (samples, dims))
        log_q = jnp.sum(
            -0.5 * ((z - mean) * jnp.exp(-log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi), axis=1
        )
        return jnp.mean(log_q - jax.vmap(target)(z))

    def with_us(estimator: Any) -> Callable:
        def loss(params: tuple, key: jax.Array) -> jax.Array:
            q = dist.Normal(params[0], jnp.exp(params[1])).to_event(1)
            return -ELBO()(target, q, estimator=estimator, num_samples=samples, key=key)

        return loss

    flow = FlowNormal(jnp.zeros(dims))
    flow_params, flow_static = eqx.partition(flow, eqx.is_inexact_array)

    def with_flowjax(stick: bool) -> Callable:
        loss = ElboLoss(target, samples, stick_the_landing=stick)
        return lambda params, key: loss(params, flow_static, key)

    params = (jnp.zeros(dims), jnp.zeros(dims))
    for name, (loss, arguments) in {
        "floor: by hand": (by_hand, params),
        "pullback, total": (with_us(Reparameterised()), params),
        "pullback, path": (with_us(PathDerivative()), params),
        "flowjax ElboLoss": (with_flowjax(False), flow_params),
        "flowjax ElboLoss, stick the landing": (with_flowjax(True), flow_params),
    }.items():
        program, time = compile_program(jax.value_and_grad(loss), arguments, key)
        calls[name] = lambda p=program, a=arguments: jax.block_until_ready(p(a, key))
        rows[name] = {"compile": time.total, "value": float(program(arguments, key)[0])}
    timings = race(calls, rounds=options.rounds)
    return {name: {**row, "time": timings[name]} for name, row in rows.items()}


def table(title: str, rows: dict[str, dict[str, Any]]) -> str:
    """One group; ratios are to its first row."""
    first = next(iter(rows.values()))["time"].min
    return markdown_table(
        [title, "ms", "median", "/ first", "compile s", "value"],
        [
            [
                name,
                f"{1e3 * row['time'].min:.3f}",
                f"{1e3 * row['time'].median:.3f}",
                f"{row['time'].min / first:.2f}",
                f"{row['compile']:.1f}" if "compile" in row else "",
                f"{row['value']:.2f}" if "value" in row else "",
            ]
            for name, row in rows.items()
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each rival")
    parser.add_argument("--sumo-steps", type=int, default=30, help="SUMO gradients in one call")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES)
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    parts = [
        f"{where['cpu']}, {where['cores']} cores (PyTorch {torch.get_num_threads()} threads), load "
        f"{where['load_at_start']} at the start; Python {where['python']}, {versions}.",
        f"Value and gradient for all weights, {BATCH} images, float32, encoder and decoder of two "
        "hidden layers; the value is minus the mean bound, each rival's on its own draws. The "
        "last table of each size is a row of gradients, each of SUMO's with its own stops.",
    ]
    record: dict[str, Any] = {"machine": where, "options": vars(options), "sizes": {}}
    for size in SIZES:
        found = measure_vae(size, options)
        record["sizes"][str(size)] = found
        for group, rows in found.items():
            parts.append(table(f"{size.pixels}-{size.width}-{size.latent}: {group}", rows))
            print("\n" + parts[-1], flush=True)
    record["normal"] = measure_normal(options)
    parts.append(table("a normal of 100 dimensions, 16 samples", record["normal"]))
    print("\n" + parts[-1])
    if not options.print:
        write_results("bounds", record)
        splice("bench-bounds", "\n\n".join(parts))


if __name__ == "__main__":
    main()
