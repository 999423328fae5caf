"""What the recipe `taynode` measures on trained networks."""

import functools
import time
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from pullback import ode
from pullback.data import Labelled
from pullback.models.ode_net import ODEBlock, ODENet
from pullback.recipes._kit.double import double

# The most images over which R_K is integrated.
_MOST = 450
_MODES = ("taylor", "nested")


def measure(
    net: ODENet, test: Labelled, orders: Sequence[int], tolerances: Sequence[float]
) -> dict[str, Any]:
    """Cost, test error, regularisers and error of the training's steps of one network."""
    with jax.enable_x64(True):
        net, x = double(net), double(test.x)
        solved = [_solve(net, x, jnp.asarray(tolerance)) for tolerance in tolerances]
        logits, end, _ = solved[-1]
        rms = 0.0
        if net.block.steps is not None:
            coarse = net.block(jax.vmap(net.stem)(x))[0]
            rms = float(jnp.sqrt(jnp.mean(jnp.square(coarse - end))))
        penalties = _penalties(net, x[:_MOST], tuple(orders))
    return {
        "nfe": [int(nfe) for *_, nfe in solved],
        "error": float(100 * np.mean(np.asarray(logits).argmax(axis=1) != test.y)),
        "step_error": rms,
        **{f"R_{order}": float(value) for order, value in zip(orders, penalties, strict=True)},
    }


@eqx.filter_jit
def _solve(net: ODENet, x: Array, tolerance: Array) -> tuple[Array, Array, Array]:
    block = ODEBlock(net.block.field)
    end, solution = block(jax.vmap(net.stem)(x), rtol=tolerance, atol=tolerance)
    return jax.vmap(net.head)(end), end, solution.stats.nfe


@eqx.filter_jit
def _penalties(net: ODENet, x: Array, orders: tuple[int, ...]) -> list[Array]:
    penalties = tuple(ode.TaylorEnergy(order) for order in orders)
    field = ode.Regularised(net.block.batched_field, penalties)
    start = field.start(jax.vmap(net.stem)(x))
    _, integrals = ode.solve(field, start, [0.0, 1.0], rtol=1e-6, atol=1e-6, norm=ode.state_norm).ys
    return [integral[-1] for integral in integrals]


def compare_modes(net: ODENet, x: np.ndarray, orders: Sequence[int]) -> dict[str, Any]:
    """R_K and its gradient by Taylor mode and by nested Jacobian-vector products, in float64.

    R_K is integrated by Gauss's rule with 8 nodes along the solution, which is computed once.
    """
    row: dict[str, Any] = {"order": [*orders], "value_gap": [], "gradient_gap": []}
    row |= {f"{mode}_{what}": [] for mode in _MODES for what in ("compile_s", "run_ms")}
    nodes, weights = np.polynomial.legendre.leggauss(8)
    nodes, weights = (nodes + 1) / 2, weights / 2
    with jax.enable_x64(True):
        net, y0 = double(net), jax.vmap(net.stem)(double(x))
        ts, weights = jnp.asarray([0.0, *nodes]), jnp.asarray(weights)
        ys = ode.solve(net.block.batched_field, y0, ts, rtol=1e-8, atol=1e-8).ys[1:]
        for order in orders:
            answers = []
            for mode in _MODES:
                energy = functools.partial(_energy, ode.TaylorEnergy(order, mode))
                answer, compile_s, run_ms = _timed(energy, net.block, ts[1:], ys, weights)
                answers.append(answer)
                row[f"{mode}_compile_s"].append(compile_s)
                row[f"{mode}_run_ms"].append(run_ms)
            (value, gradient), (other, other_gradient) = answers
            gap = np.linalg.norm(gradient - other_gradient) / np.linalg.norm(other_gradient)
            row["value_gap"].append(float(abs(value / other - 1)))
            row["gradient_gap"].append(float(gap))
    return row


def _energy(
    penalty: ode.TaylorEnergy, block: ODEBlock, ts: Array, ys: Array, weights: Array
) -> Array:
    f = block.batched_field
    rates = jax.vmap(lambda t, y: penalty(f, t, y, None, y))(ts, ys)
    return jnp.sum(weights * rates)


def _timed(energy: Any, *inputs: Any) -> tuple[tuple[float, np.ndarray], float, float]:
    """The value and gradient, the seconds to compile them and the milliseconds of the best run."""

    def answer(*inputs: Any) -> tuple[Array, Array]:
        value, gradient = eqx.filter_value_and_grad(energy)(*inputs)
        return value, ravel_pytree(gradient)[0]

    # A program from the persistent cache costs nothing to compile: this one is never put there.
    option = "jax_persistent_cache_min_compile_time_secs"
    threshold = getattr(jax.config, option)
    jax.config.update(option, 1e9)
    try:
        start = time.perf_counter()
        program = eqx.filter_jit(answer).lower(*inputs).compile()
        compile_s = time.perf_counter() - start
    finally:
        jax.config.update(option, threshold)
    value, gradient = jax.block_until_ready(program(*inputs))
    runs = []
    for _ in range(20):
        start = time.perf_counter()
        jax.block_until_ready(program(*inputs))
        runs.append(1e3 * (time.perf_counter() - start))
    return (float(value), np.asarray(gradient)), compile_s, min(runs)


def deferred_gap(net: ODENet, x: np.ndarray, order: int) -> float:
    """How far the deferred penalty's gradient is from the full solve's, relative, in float64."""
    with jax.enable_x64(True):
        gradients = _deferred_and_full(double(net), double(x), order)
        deferred, full = (ravel_pytree(gradient)[0] for gradient in gradients)
        return float(jnp.linalg.norm(deferred - full) / jnp.linalg.norm(full))


@eqx.filter_jit
def _deferred_and_full(net: ODENet, x: Array, order: int) -> list[Any]:
    def loss(net: ODENet, adjoint: ode.AbstractAdjoint) -> Array:
        field = ode.Regularised(net.block.batched_field, (ode.TaylorEnergy(order),))
        start = field.start(jax.vmap(net.stem)(x))
        ys, (energy,) = ode.solve(
            field, start, [0.0, 1.0], steps=4, norm=ode.state_norm, adjoint=adjoint
        ).ys
        return jnp.mean(jnp.square(jax.vmap(net.head)(ys[-1]))) + energy[-1]

    return [
        eqx.filter_grad(loss)(net, adjoint) for adjoint in (ode.DeferredPenalty(), ode.Replay())
    ]


def paths(plain: ODENet, regularised: ODENet, image: np.ndarray) -> dict[str, np.ndarray]:
    """One image's state on its way through two networks: the entries that move most."""
    times = jnp.linspace(0.0, 1.0, 101)
    solved = []
    for net in (plain, regularised):
        y0 = net.stem(jnp.asarray(image))
        solved.append(np.asarray(ode.solve(net.block.field, y0, times, rtol=1e-6, atol=1e-6).ys))
    length = np.abs(np.diff(solved[0], axis=0)).sum(axis=0)
    most = np.argsort(length)[-5:]
    plain_path, regularised_path = (path[:, most] for path in solved)
    return {"times": np.asarray(times), "plain": plain_path, "regularised": regularised_path}
