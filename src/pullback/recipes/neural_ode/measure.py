"""What the recipe `neural-ode` measures on trained networks, and on two solves without one."""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from pullback import ode
from pullback.data import Labelled
from pullback.models.ode_net import ODEBlock, ODENet
from pullback.nn import ConcatMLP
from pullback.recipes._kit.double import double
from pullback.recipes._kit.memory import gradient_memory

STIFFNESS = (1.0, 5.0, 15.0, 25.0)
ADJOINTS: dict[str, ode.AbstractAdjoint] = {"Backsolve": ode.Backsolve(), "Replay": ode.Replay()}


def dial(net: ODENet, probe: Labelled, tolerances: Sequence[float]) -> dict[str, list]:
    """What each tolerance costs and buys.

    Evaluations forward, and backward by each adjoint for the gradient of the mean loss; error of
    the logits; share of wrong answers.
    """
    with jax.enable_x64(True):
        exact = np.asarray(_exact(double(net), double(probe.x)))
    x, y = map(jnp.asarray, probe)
    rows: dict[str, list] = {
        "nfe": [],
        **{name: [] for name in ADJOINTS},
        "logit_error": [],
        "wrong": [],
    }
    for tolerance in map(jnp.asarray, tolerances):
        logits, counts = _at(net, x, y, tolerance)
        for name, count in counts.items():
            rows[name].append(int(count))
        rows["logit_error"].append(float(np.abs(logits - exact).max()))
        rows["wrong"].append(float(100 * np.mean(logits.argmax(axis=1) != probe.y)))
    return rows


@eqx.filter_jit
def _exact(net: ODENet, x: jax.Array) -> jax.Array:
    return net(x, rtol=1e-9, atol=1e-9)[0]


@eqx.filter_jit
def _at(
    net: ODENet, x: jax.Array, labels: jax.Array, tolerance: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The logits, and the evaluations forward and backward."""

    def loss(y: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = jax.vmap(net.head)(y)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels)), logits

    start, times = jax.vmap(net.stem)(x), [net.block.t0, net.block.t1]
    counts = {}
    for name, adjoint in ADJOINTS.items():
        solution, pull = ode.vjp(
            net.block.batched_field, start, times, rtol=tolerance, atol=tolerance, adjoint=adjoint
        )
        cotangent, logits = jax.grad(loss, has_aux=True)(solution.ys[-1])
        _, stats = pull(jnp.stack([jnp.zeros_like(cotangent), cotangent]))
        counts |= {"nfe": solution.stats.nfe, name: stats.nfe}
    return logits, counts  # pyrefly: ignore


def trap() -> dict[str, np.ndarray]:
    """Relative errors of dz(2)/dk for z' = -k (z - cos t), z(0) = 0, at tolerance 1e-4."""
    with jax.enable_x64(True):
        return {name: np.asarray(errors) for name, errors in _trap(jnp.array(STIFFNESS)).items()}


@jax.jit
def _trap(stiffness: jax.Array) -> dict[str, jax.Array]:
    exact = jax.vmap(jax.grad(trap_solution))(stiffness)
    slopes = {
        name: jax.lax.map(jax.grad(functools.partial(_trap_solve, adjoint)), stiffness)
        for name, adjoint in ADJOINTS.items()
    }
    return {name: jnp.abs(slope / exact - 1) for name, slope in slopes.items()}


def _trap_solve(adjoint: ode.AbstractAdjoint, stiffness: jax.Array) -> jax.Array:
    field = lambda t, z, stiffness: -stiffness * (z - jnp.cos(t))
    options: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4, "adjoint": adjoint, "throw": False}
    return ode.solve(field, jnp.zeros_like(stiffness), [0.0, 2.0], stiffness, **options).ys[-1]


def trap_solution(stiffness: jax.Array) -> jax.Array:
    """z(2) in closed form."""
    attractor = lambda t: (stiffness * jnp.cos(t) + jnp.sin(t)) * stiffness / (stiffness**2 + 1)
    return attractor(2.0) - attractor(0.0) * jnp.exp(-2.0 * stiffness)


def memory(steps: Sequence[int]) -> dict[str, list[float]]:
    """MiB that the compiled gradient of a solve needs, for each number of Heun steps."""
    field = ConcatMLP(128, 128, 1, key=jr.key(0))
    y0 = jnp.ones((256, 128))

    def of_block(adjoint: ode.AbstractAdjoint, n: int, field: ConcatMLP) -> jax.Array:
        block = ODEBlock(field, solver=ode.Heun(), steps=n, adjoint=adjoint)
        return jnp.mean(block(y0, throw=False)[0] ** 2)

    solves = {"plain scan": functools.partial(_heun_by_scan, y0)}
    solves |= {name: functools.partial(of_block, adjoint) for name, adjoint in ADJOINTS.items()}
    return {
        name: [gradient_memory(functools.partial(solve, n), field) for n in steps]
        for name, solve in solves.items()
    }


def _heun_by_scan(y0: jax.Array, n: int, field: ConcatMLP) -> jax.Array:
    """What one would write without a library: back-propagation keeps every intermediate value."""
    velocity = ODEBlock(field).batched_field

    def step(y: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        first = velocity(t, y)
        second = velocity(t + 1 / n, y + first / n)
        return y + (first + second) / (2 * n), None

    y, _ = jax.lax.scan(step, y0, jnp.arange(n, dtype=y0.dtype) / n)
    return jnp.mean(y**2)
