"""Mean-field theory of tanh: a phase diagram, fixed points and paths, beside neural-tangents.

neural-tangents does not import with this JAX: its kernels alone are taken, without its package's
first file. They have Gauss-Hermite nodes for tanh, and no fixed points: layers are iterated.
"""

import importlib.util
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from _harness import compile_program, markdown_table, race
from pullback.analysis.signals import MeanField, critical_weight_scale

PACKAGES = ("pullback", "jax", "equinox", "optimistix")
SCALES, BIAS, GRID = (1.3, 1.5, 2.5, 4.0), 0.3, 41
NODES, LAYERS, DEPTHS = (51, 101, 201), 20, (10, 100, 1000)
PATH = f"`trajectory`, 4 scales, {LAYERS} layers"


def _stax() -> Any | None:
    """The layers of neural-tangents, if they are installed."""
    found = importlib.util.find_spec("neural_tangents")
    if found is None:
        return None
    package: Any = types.ModuleType("neural_tangents")
    package.__path__ = list(found.submodule_search_locations or [])
    sys.modules["neural_tangents"] = package
    warnings.simplefilter("ignore")
    return importlib.import_module("neural_tangents.stax")


def _by_kernels(stax: Any, nodes: int) -> Callable[[Any], tuple[Any, Any]]:
    """Variance and correlation after the last layer, of two inputs."""

    def at(scale: Any) -> tuple[Any, Any]:
        layer = stax.serial(
            stax.ElementwiseNumerical(jnp.tanh, deg=nodes), stax.Dense(1, W_std=scale, b_std=BIAS)
        )[2]
        first = stax.Dense(1, W_std=scale, b_std=BIAS)[2]
        # Of mean square 1, and at right angles but for the bias.
        start = first(jnp.eye(2) * 2**0.5, None)
        last = jax.lax.scan(lambda k, _: (layer(k), None), start, None, length=LAYERS)[0].nngp
        return last[0, 0], last[0, 1] / last[0, 0]

    return at


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of each, and how far from a reference."""
    with jax.enable_x64(True):
        return _measure(rounds)


def _measure(rounds: int) -> dict[str, Any]:
    theory = MeanField(jnp.tanh)
    weights, biases = np.meshgrid(np.linspace(1, 5, GRID), np.linspace(0, 4, GRID))
    start = time.perf_counter()
    jax.block_until_ready(theory.chi(weights, biases))
    first = time.perf_counter() - start
    scales = jnp.asarray(SCALES)
    points = lambda: (
        theory.fixed_point(scales, BIAS),
        theory.correlation_fixed_point(scales, BIAS),
    )
    calls: dict[str, Callable[[], Any]] = {
        f"phase diagram, {GRID} x {GRID}": lambda: theory.chi(weights, biases),
        "critical scale, 41 bias scales": lambda: critical_weight_scale(theory, biases[:, 0]),
        "`fixed_point`, `correlation_fixed_point`, 4 scales": points,
        PATH: lambda: theory.trajectory(0.0, scales, BIAS, depth=LAYERS + 1, q=scales**2 + BIAS**2),
    }
    path = theory.trajectory(0.0, scales, BIAS, depth=LAYERS + 1, q=scales**2 + BIAS**2)
    want = path.q[:, -1], path.c[:, -1]

    def off(found: Any) -> list[float]:
        return [float(jnp.max(jnp.abs(f - w))) for f, w in zip(found, want, strict=True)]

    errors: dict[str, list[float]] = {}
    stax = _stax()
    for nodes in NODES if stax is not None else ():
        run = jax.jit(jax.vmap(_by_kernels(stax, nodes)))
        name = f"neural-tangents, {nodes} nodes, 4 scales, {LAYERS} layers"
        calls[name] = lambda run=run: run(scales)
        errors[name] = off(run(scales))
    waited = {name: lambda call=call: jax.block_until_ready(call()) for name, call in calls.items()}
    compiles = {}
    for depth in DEPTHS:
        deep = lambda scale, depth=depth: theory.trajectory(0.5, scale, BIAS, depth=depth)
        compiles[depth] = compile_program(deep, 2.5)[1].total
    timings = race(waited, rounds=rounds)
    return {"first_diagram": first, "compile": compiles, "errors": errors, "times": timings}


def tables(record: dict[str, Any]) -> list[str]:
    """What is told of it."""
    rows = []
    for name, timing in record["times"].items():
        off = [f"{each:.0e}" for each in record["errors"].get(name, [])] or ["", ""]
        rows.append([name, f"{1e3 * timing.min:.1f}", *off])
    compiles = ", ".join(f"{took:.1f} s at {depth}" for depth, took in record["compile"].items())
    ours = record["times"][PATH].min
    ratios = [record["times"][name].min / ours for name in record["errors"]]
    told = "It is not installed here."
    if ratios:
        told = (
            "The aim was to be 5 times as fast, which is missed: it takes "
            f"{', '.join(f'{ratio:.2f}' for ratio in ratios)} times as long, with the errors that "
            "the table has; those of `trajectory` are 1e-9."
        )
    diagram = next(iter(record["times"].values())).min
    return [
        "**Mean-field theory** of tanh, float64, bias scale 0.3, weight scales "
        f"{', '.join(map(str, SCALES))}. The aim for the phase diagram is 1 s after compiling, "
        f"which is {'met' if diagram < 1 else 'missed'}. neural-tangents (its kernels alone: the "
        f"package does not import with this JAX) iterates layers as `trajectory` does. {told}",
        markdown_table(["", "ms", "variance off by", "correlation off by"], rows),
        f"The first phase diagram takes {record['first_diagram']:.1f} s, compiling with it. "
        f"`trajectory` compiles in {compiles} layers.",
    ]
