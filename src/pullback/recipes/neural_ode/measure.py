"""What the recipe `neural-ode` measures on trained networks, and on two solves without one."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from pullback import ode
from pullback.data import Labelled
from pullback.models.ode_net import ODEBlock, ODENet
from pullback.nn import ConcatMLP
from pullback.recipes._kit.double import double

STIFFNESS = (1.0, 5.0, 15.0, 25.0)


@eqx.filter_jit
def _answers(net: ODENet, x: jax.Array, tolerance: jax.Array) -> tuple[jax.Array, jax.Array]:
    logits, solution = net(x, rtol=tolerance, atol=tolerance, throw=False)
    return logits, solution.stats.nfe


@eqx.filter_jit
def _stem(net: ODENet, x: jax.Array) -> jax.Array:
    return jax.vmap(net.stem)(x)


def dial(net: ODENet, probe: Labelled, tolerances: Sequence[float]) -> dict[str, list]:
    """Evaluations, error of the logits and share of wrong answers at each tolerance."""
    with jax.enable_x64(True):
        exact = np.asarray(_answers(double(net), double(probe.x), jnp.asarray(1e-9))[0])
    rows = {"nfe": [], "logit_error": [], "wrong": []}
    for tolerance in tolerances:
        logits, nfe = map(np.asarray, _answers(net, jnp.asarray(probe.x), jnp.asarray(tolerance)))
        rows["nfe"].append(int(nfe))
        rows["logit_error"].append(float(np.abs(logits - exact).max()))
        rows["wrong"].append(float(100 * np.mean(logits.argmax(axis=1) != probe.y)))
    return rows


def cost(net: ODENet, probe: Labelled, tolerances: Sequence[float]) -> dict[str, list[int]]:
    """Evaluations forward and backward for the gradient of the mean loss, at each tolerance."""
    y0 = _stem(net, jnp.asarray(probe.x))
    end_loss = functools.partial(_end_loss, net.head, jnp.asarray(probe.y))
    rows = {"forward": [], "Backsolve": [], "Replay": []}
    for tolerance in tolerances:
        for adjoint in (ode.Backsolve(), ode.Replay()):
            solution, pull = ode.vjp(
                net.block.batched_field,
                y0,
                [net.block.t0, net.block.t1],
                rtol=tolerance,
                atol=tolerance,
                adjoint=adjoint,
            )
            cotangent = jax.grad(end_loss)(solution.ys[-1])
            _, stats = pull(jnp.stack([jnp.zeros_like(cotangent), cotangent]))
            rows[type(adjoint).__name__].append(int(stats.nfe))
        rows["forward"].append(int(solution.stats.nfe))
    return rows


def _end_loss(head: Any, labels: jax.Array, y: jax.Array) -> jax.Array:
    logits = jax.vmap(head)(y)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


@eqx.filter_jit
def _gradient(net: ODENet, batch: tuple[jax.Array, jax.Array], tolerance: jax.Array) -> jax.Array:
    def loss(net: ODENet) -> jax.Array:
        x, y = batch
        logits, _ = net(x, rtol=tolerance, atol=tolerance, throw=False)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    return ravel_pytree(eqx.filter_grad(loss)(net))[0]


def gradient_gap(net: ODENet, probe: Labelled, tolerances: Sequence[float]) -> list[float]:
    """How far the adjoint's gradient is from the discrete solution's, relative, in float64."""
    gaps = []
    with jax.enable_x64(True):
        net, batch = double(net), (double(probe.x), jnp.asarray(probe.y))
        for tolerance in tolerances:
            replay, backsolve = (
                _gradient(
                    dataclasses.replace(net, block=dataclasses.replace(net.block, adjoint=adjoint)),
                    batch,
                    jnp.asarray(tolerance),
                )
                for adjoint in (ode.Replay(), ode.Backsolve())
            )
            gaps.append(float(jnp.linalg.norm(backsolve - replay) / jnp.linalg.norm(replay)))
    return gaps


def trap() -> dict[str, list[float]]:
    """Relative errors of dz(2)/d lambda for z' = -lambda (z - cos t), z(0) = 0, at 1e-4."""
    errors = {"Replay": [], "Backsolve": []}
    with jax.enable_x64(True):
        for stiffness in map(jnp.asarray, STIFFNESS):
            exact = jax.grad(_trap_solution)(stiffness, jnp.asarray(2.0))
            for adjoint in (ode.Replay(), ode.Backsolve()):
                error = jnp.abs(eqx.filter_grad(_trap_solve)(stiffness, adjoint) / exact - 1)
                errors[type(adjoint).__name__].append(float(error))
    return errors


@eqx.filter_jit
def _trap_solve(stiffness: jax.Array, adjoint: ode.AbstractAdjoint) -> jax.Array:
    field = lambda t, z, stiffness: -stiffness * (z - jnp.cos(t))
    start = jnp.zeros_like(stiffness)
    path = ode.solve(field, start, [0.0, 2.0], stiffness, rtol=1e-4, atol=1e-4, adjoint=adjoint)
    return path.ys[-1]


def _trap_solution(stiffness: jax.Array, t: jax.Array) -> jax.Array:
    attractor = lambda t: (stiffness * jnp.cos(t) + jnp.sin(t)) * stiffness / (stiffness**2 + 1)
    return attractor(t) - attractor(jnp.zeros_like(t)) * jnp.exp(-stiffness * t)


def memory(steps: Sequence[int]) -> dict[str, list[float]]:
    """MiB that the compiled gradient of a solve needs, for each number of Heun steps."""
    field = ConcatMLP(128, 128, 1, key=jr.key(0))
    y0 = jnp.ones((256, 128))

    def of_block(adjoint: ode.AbstractAdjoint, n: int, field: ConcatMLP) -> jax.Array:
        block = ODEBlock(field, solver=ode.Heun(), steps=n, adjoint=adjoint)
        return jnp.mean(block(y0, throw=False)[0] ** 2)

    solvers = {
        "plain scan": functools.partial(_heun_by_scan, y0),
        "Replay": functools.partial(of_block, ode.Replay()),
        "Backsolve": functools.partial(of_block, ode.Backsolve()),
    }
    table = {}
    for name, loss in solvers.items():
        compiled = [
            jax.jit(jax.grad(functools.partial(loss, n))).lower(field).compile() for n in steps
        ]
        table[name] = [_temporary(c.memory_analysis()) for c in compiled]
    return table


def _temporary(analysis: Any) -> float:
    # Not every backend tells.
    return float("nan") if analysis is None else analysis.temp_size_in_bytes / 2**20


def _heun_by_scan(y0: jax.Array, n: int, field: ConcatMLP) -> jax.Array:
    """What one would write without a library: back-propagation keeps every intermediate value."""
    velocity = ODEBlock(field).batched_field

    def step(y: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        first = velocity(t, y)
        second = velocity(t + 1 / n, y + first / n)
        return y + (first + second) / (2 * n), None

    y, _ = jax.lax.scan(step, y0, jnp.arange(n, dtype=y0.dtype) / n)
    return jnp.mean(y**2)


def paths(net: ODENet, probe: Labelled) -> dict[str, np.ndarray]:
    """The hidden paths of the probe's images, in the plane where the classes' means differ most."""
    y0 = _stem(net, jnp.asarray(probe.x))
    times = jnp.linspace(net.block.t0, net.block.t1, 41)
    solution = ode.solve(net.block.batched_field, y0, times, rtol=1e-4, atol=1e-4)
    ys = np.asarray(solution.ys).reshape(len(times), len(y0), -1)
    means = np.stack([ys[-1][probe.y == c].mean(axis=0) for c in np.unique(probe.y)])
    centre = means.mean(axis=0)
    plane = np.linalg.svd(means - centre, full_matrices=False)[2][:2]
    return {"times": np.asarray(times), "paths": (ys - centre) @ plane.T}
