"""A neural CDE's loss and gradient beside Diffrax's control term and torchcde: `make bench-cde`.

The same weights, series and steps: backward Hermite cubics, one midpoint step from one time to the
next, gradients through the steps, float32. Diffrax and torchcde are given their coefficients; ours
are made of the series within the step.
"""

import argparse
import os
from dataclasses import dataclass

os.environ["EQX_ON_ERROR"] = "nan"

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import torch
import torchcde

from _harness import compile_program, machine, markdown_table, race, splice, write_results
from pullback.models import timeseries as ts

PACKAGES = (
    "pullback", "jax", "jaxlib", "diffrax", "torch", "torchdiffeq", "torchcde", "numpy",
)  # fmt: skip
CLASSES = 4


@dataclass(frozen=True)
class Size:
    """How many series of how many times and variables, and how large a model."""

    batch: int
    times: int
    variables: int
    state: int
    width: int

    def __str__(self) -> str:
        return (
            f"{self.batch} series, {self.times} times, {self.variables} variables, state of "
            f"{self.state}, width {self.width}"
        )


SIZES = (Size(32, 100, 3, 16, 32), Size(128, 100, 8, 32, 64))


def batch_of(size: Size) -> tuple[ts.Observations, np.ndarray]:
    """Series that share their times, which is what torchcde can do, and their classes."""
    random = np.random.default_rng(0)
    values = 0.3 * np.cumsum(random.normal(size=(size.batch, size.times, size.variables)), axis=1)
    times = np.broadcast_to(np.arange(size.times), (size.batch, size.times))
    observed = ts.Observations(
        jnp.asarray(times, jnp.float32),
        jnp.asarray(values, jnp.float32),
        jnp.ones(values.shape, bool),
    )
    return observed, random.integers(CLASSES, size=size.batch)


def model_of(size: Size) -> ts.NeuralCDE:
    model = ts.neural_cde(
        size.variables, size.state, CLASSES, width=size.width, interpolation="hermite",
        key=jr.key(0),
    )  # fmt: skip
    drive = type(model.drive)(model.drive.field, 1, diffrax.Midpoint())
    return eqx.tree_at(lambda m: m.drive, model, drive)


def channels(observed: ts.Observations) -> jax.Array:
    """Time, values and counts, of which Diffrax and torchcde make their paths."""
    counts = jnp.cumsum(observed.mask, axis=1).astype(jnp.float32)
    return jnp.concatenate([observed.times[..., None], observed.values, counts], axis=2)


def ours(model: ts.NeuralCDE, observed: ts.Observations) -> jax.Array:
    return jax.vmap(model)(*observed)


def diffrax_s(model: ts.NeuralCDE, given: tuple) -> jax.Array:
    """In the way of Diffrax's own example, with the same steps."""
    times, coeffs, first = given

    def one(coeffs: tuple, x: jax.Array) -> jax.Array:
        path = diffrax.CubicInterpolation(times, coeffs)
        term = diffrax.ControlTerm(lambda t, z, args: model.drive.field(z), path).to_ode()
        z0 = model.first(jnp.concatenate([x, jnp.ones_like(x)]))
        found = diffrax.diffeqsolve(
            term, diffrax.Midpoint(), times[0], times[-1], 1.0, z0, max_steps=len(times)
        )
        return model.readout(found.ys[-1])  # pyrefly: ignore

    return jax.vmap(one)(coeffs, first)


class TorchCDE(torch.nn.Module):
    """Takes its weights from pullback's model."""

    def __init__(self, model: ts.NeuralCDE):
        super().__init__()
        field = model.drive.field
        self.hidden, self.last = map(_linear, field.layers)
        self.first, self.readout = _linear(model.first), _linear(model.readout)
        self.shape = field.shape

    def field(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.last(torch.tanh(self.hidden(z)))).view(len(z), *self.shape)

    def forward(self, coeffs: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        path = torchcde.CubicSpline(coeffs)
        z0 = self.first(torch.cat([first, torch.ones_like(first)], dim=1))
        z = torchcde.cdeint(
            X=path, func=self.field, z0=z0, t=path.interval, adjoint=False, method="midpoint",
            options={"step_size": 1.0},
        )  # fmt: skip
        return self.readout(z[:, -1])


def _linear(layer: eqx.nn.Linear) -> torch.nn.Linear:
    made = torch.nn.Linear(layer.in_features, layer.out_features)  # pyrefly: ignore
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(np.array(layer.weight)))
        made.bias.copy_(torch.from_numpy(np.array(layer.bias)))
    return made


def measure(size: Size, options: argparse.Namespace) -> dict:
    """Times of all in milliseconds, and the loss that each finds."""
    model, (observed, labels) = model_of(size), batch_of(size)
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    told, times = channels(observed), observed.times[0]
    coeffs = jax.vmap(lambda x: diffrax.backward_hermite_coefficients(times, x))(told)
    calls, losses, compiled = {}, {}, {}
    for name, call, given in (
        ("pullback", ours, observed),
        ("diffrax", diffrax_s, (times, coeffs, observed.values[:, 0])),
    ):

        def loss(params, given, call=call):
            logits = call(eqx.combine(params, rest), given)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

        program, took = compile_program(
            jax.value_and_grad(loss), params, given, repeats=options.compiles
        )
        compiled[name], losses[name] = took.total, float(program(params, given)[0])
        calls[name] = lambda program=program, given=given: jax.block_until_ready(
            program(params, given)
        )
    net = TorchCDE(model)
    theirs = torchcde.hermite_cubic_coefficients_with_backward_differences(
        torch.from_numpy(np.array(told))
    )
    first, classes = torch.from_numpy(np.array(observed.values[:, 0])), torch.from_numpy(labels)

    def torch_step() -> float:
        net.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(theirs, first), classes)
        loss.backward()
        return loss.item()

    calls["torchcde"], losses["torchcde"] = torch_step, torch_step()
    timings = race(calls, rounds=options.rounds, turn=options.turn)
    return {
        name: {
            "run_ms": 1e3 * timing.min,
            "run_ms_median": 1e3 * timing.median,
            "repeats": timing.count,
            "ratio": timing.min / timings["pullback"].min,
            "compile_s": compiled.get(name),
            "loss": losses[name],
        }
        for name, timing in timings.items()
    }


def table(size: str, record: dict) -> str:
    header = (size, "ms", "median", "/ pullback", "compile s", "loss")
    rows = [
        (
            name,
            f"{each['run_ms']:.2f}",
            f"{each['run_ms_median']:.2f}",
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
        "Loss and gradient of a neural CDE that tells classes: the least and the median time of a "
        "call, the rivals taking turns. Backward Hermite cubics of time, values and counts, one "
        "midpoint step from one time to the next, gradients through the steps, float32; the same "
        "weights and series, at shared times. Diffrax and torchcde are given the coefficients of "
        "their paths; pullback makes them of the series in each call."
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
    chosen = [Size(3, 5, 2, 3, 4)] if options.tiny else [SIZES[i] for i in options.sizes]
    sizes = {}
    for size in chosen:
        sizes[str(size)] = measure(size, options)
        print(table(str(size), sizes[str(size)]), flush=True)
    if not (options.print or options.tiny):
        path = write_results("cde", {"machine": about, "sizes": sizes})
        splice("bench-cde", page(sizes, about))
        print(f"Wrote {path} and docs/benchmarks.md")


if __name__ == "__main__":
    main()
