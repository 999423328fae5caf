"""A latent ODE's training step beside the same model on torchdiffeq: `make bench-latent_ode`.

The same weights, series, noise and solver settings: an encoder with one midpoint step a gap, a
Dopri5 decoder at rtol 1e-3 and atol 1e-4, gradients through the steps, Adamax, float32.
"""

import argparse
import os

os.environ["EQX_ON_ERROR"] = "nan"

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import torch

from _harness import compile_program, machine, markdown_table, race, splice, write_results
from _latent_ode_problem import LEARNING_RATE, SIZES, Size, batch_of, model_of
from _latent_ode_torch import training_step
from pullback.models import timeseries as ts
from pullback.models.likelihoods import masked_log_prob

PACKAGES = ("pullback", "jax", "jaxlib", "diffrax", "optax", "torch", "torchdiffeq", "numpy")


def jax_step(size: Size):
    """A step as a function of arrays, and its arguments."""
    model = model_of(size)
    times, values, mask, noise = (jnp.asarray(a) for a in batch_of(size))
    shared = jnp.broadcast_to(times[None], (size.batch, size.times))
    observed = ts.Observations(shared, values, mask)
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    optimiser = optax.adamax(LEARNING_RATE)

    def loss(params, observed, noise):
        model = eqx.combine(params, rest)
        posterior = model.encode(observed)
        z0 = posterior.mean + posterior.std * noise
        mean = model.decode(z0[None], observed.times[:, 0], observed.times).mean[0]
        log_x = masked_log_prob(model.likelihood, mean, observed.values, observed.mask)
        return jnp.mean(posterior.kl() - jnp.sum(log_x, axis=(1, 2)))

    def step(params, state, observed, noise):
        value, gradient = jax.value_and_grad(loss)(params, observed, noise)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    return model, step, (params, optimiser.init(params), observed, noise)


def measure(size: Size, options: argparse.Namespace) -> dict:
    """Times of both in milliseconds, and the loss that both start from."""
    model, step, arguments = jax_step(size)
    program, compile_time = compile_program(step, *arguments, repeats=options.compiles)
    torch_step, torch_loss = training_step(model, batch_of(size))
    losses = {"pullback": float(program(*arguments)[2]), "torchdiffeq": torch_loss()}
    state = {"at": arguments[:2]}

    def run():
        *state["at"], value = program(*state["at"], *arguments[2:])  # pyrefly: ignore
        return jax.block_until_ready(value)

    timings = race(
        {"pullback": run, "torchdiffeq": torch_step}, rounds=options.rounds, turn=options.turn
    )
    return {
        name: {
            "run_ms": 1e3 * timing.min,
            "run_ms_median": 1e3 * timing.median,
            "repeats": timing.count,
            "ratio": timing.min / timings["pullback"].min,
            "compile_s": compile_time.total if name == "pullback" else None,
            "loss": losses[name],
        }
        for name, timing in timings.items()
    }


def table(size: str, record: dict) -> str:
    header = (size, "ms", "median", "/ pullback", "compile s", "loss at the start")
    rows = [
        (
            name,
            f"{each['run_ms']:.1f}",
            f"{each['run_ms_median']:.1f}",
            f"{each['ratio']:.2f}",
            "" if each["compile_s"] is None else f"{each['compile_s']:.1f}",
            f"{each['loss']:.5g}",
        )
        for name, each in record.items()
    ]
    return markdown_table(header, rows)


def page(sizes: dict[str, dict], about: dict) -> str:
    """The section of the docs, in Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    explained = (
        f"{about['cpu']}, {about['cores']} cores, load {about['load_at_start']} at the start; "
        f"Python {about['python']}, {versions}.\n\n"
        "Training step of a latent ODE: the least and the median time of a call, the rivals taking "
        "turns. Encoder: one midpoint step a gap; decoder: Dopri5 at rtol 1e-3, atol 1e-4, per "
        "series in pullback and one step for the whole batch in torchdiffeq; gradients through the "
        "steps; Adamax; float32; the same weights, series and noise. All series share their times, "
        "which is what torchdiffeq can do."
    )
    return "\n\n".join([explained, *(table(size, record) for size, record in sizes.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1], help="which")
    parser.add_argument("--tiny", action="store_true", help="one tiny size: does it run?")
    parser.add_argument("--rounds", type=int, default=20, help="turns of every rival")
    parser.add_argument("--turn", type=float, default=0.1, help="seconds of a turn")
    parser.add_argument("--compiles", type=int, default=2, help="compilations, the best is kept")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()

    about = machine(PACKAGES) | {"torch_threads": torch.get_num_threads()}
    chosen = [Size(3, 4, 2, 2, 3, 4, 1)] if options.tiny else [SIZES[i] for i in options.sizes]
    sizes = {}
    for size in chosen:
        sizes[str(size)] = measure(size, options)
        print(table(str(size), sizes[str(size)]), flush=True)
    if not (options.print or options.tiny):
        path = write_results("latent_ode", {"machine": about, "sizes": sizes})
        splice("bench-latent-ode", page(sizes, about))
        print(f"Wrote {path} and docs/benchmarks.md")


if __name__ == "__main__":
    main()
