"""What the recipe `hollow-net` measures apart from training: costs and iterations."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from pullback.calculus import (
    AbstractDivergence,
    ExactDivergence,
    HollowDivergence,
    HutchinsonDivergence,
)
from pullback.nn import HollowNet, TwoSidedConditioner
from pullback.ode import JacobiNewton, find_root
from pullback.recipes._kit.stack import made

STEP = 0.05  # of implicit Euler
RATES = (1.0, 1000.0)  # of the stiff decay, slowest and fastest
_TIME = 0.5


def hollow_net(dim: int, features: int, width: int, inner: int, seed: int) -> HollowNet:
    """A net with random weights everywhere, so that nothing is zero by construction."""
    conditioner_key, key = jr.split(jr.key(seed))
    conditioner = made(TwoSidedConditioner, dim, features, width, key=conditioner_key)
    return made(HollowNet, conditioner, inner, zero_last=False, key=key)


class _Frozen(eqx.Module):
    """A net at one time, as a divergence takes it."""

    net: HollowNet

    def __call__(self, y: Array) -> Array:
        return self.net(_TIME, y)

    def with_divergence(self, y: Array) -> tuple[Array, Array]:
        return self.net.with_divergence(_TIME, y)


def cost(dims: Sequence[int], batch: int, turns: int) -> list[dict[str, Any]]:
    """Floating-point operations and the least time of a call, for each size and each way."""
    return [_cost_at(dim, batch, turns) for dim in dims]


def _cost_at(dim: int, batch: int, turns: int) -> dict[str, Any]:
    net = hollow_net(dim, 8, 256, 32, 0)
    ys = jr.normal(jr.key(1), (batch, dim))
    hutchinson = HutchinsonDivergence()
    ways: dict[str, tuple[AbstractDivergence, Any]] = {
        "hollow": (HollowDivergence(), None),
        "hutchinson": (hutchinson, hutchinson.probe(ys[0], key=jr.key(2))),
        "exact": (ExactDivergence(), None),
    }

    def divergence(name: str) -> Callable[[HollowNet, Array], Any]:
        way, probe = ways[name]
        return lambda net, ys: jax.vmap(lambda y: way(_Frozen(net), y, probe))(ys)

    functions = {"field": lambda net, ys: jax.vmap(_Frozen(net))(ys)}
    functions |= {name: divergence(name) for name in ways}
    programs = {name: jax.jit(f).lower(net, ys).compile() for name, f in functions.items()}
    seconds = {name: [] for name in programs}
    for _ in range(turns):
        for name, program in programs.items():
            seconds[name].append(_best_time(program, net, ys))
    return {
        "dim": dim,
        "flops": {name: float(_flops(program)) for name, program in programs.items()},
        "seconds": {name: min(times) for name, times in seconds.items()},
    }


def _best_time(program: Callable[..., Any], *inputs: Any) -> float:
    """The least of the calls that fit into a twentieth of a second, one at the least."""
    times = []
    while sum(times) < 0.05:
        start = time.perf_counter()
        jax.block_until_ready(program(*inputs))
        times.append(time.perf_counter() - start)
    return min(times)


def _flops(program: Any) -> float:
    analysis = program.cost_analysis()
    return (analysis[0] if isinstance(analysis, list) else analysis)["flops"]


def ratio(costs: Sequence[dict[str, Any]], kind: str, above: str, below: str) -> list[float]:
    """One cost over another, for each size."""
    return [row[kind][above] / row[kind][below] for row in costs]


def root_finding(dim: int, iterations: int, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """The largest residual of an implicit Euler step of a stiff field, after each iteration.

    The field is `-rate y` plus a hollow net, with rates from 1 to 1000. Returns an array
    `[seeds, iterations + 1]` for each way to solve for the end of the step.
    """
    with jax.enable_x64(True):
        rates = jnp.geomspace(*RATES, dim)

        def parts(y: Array, inputs: tuple[HollowNet, Array]) -> tuple[Array, Array]:
            net, start = inputs
            f, diagonal = net.with_diagonal(_TIME, y)
            return y - start - STEP * (f - rates * y), 1 - STEP * (diagonal - rates)

        def jacobi_newton(y: Array, inputs: tuple) -> Array:
            one = JacobiNewton(1e-14, 1e-14, jacobi_steps=1, krylov_steps=0)
            return find_root(parts, y, inputs, method=one, throw=False)[0]

        def functional(y: Array, inputs: tuple) -> Array:
            return y - parts(y, inputs)[0]

        def newton(y: Array, inputs: tuple) -> Array:
            residual, _ = parts(y, inputs)
            jacobian = jax.jacfwd(lambda y: parts(y, inputs)[0])(y)
            return y - jnp.linalg.solve(jacobian, residual)

        def largest(y: Array, inputs: tuple[HollowNet, Array]) -> Array:
            return jnp.max(jnp.abs(parts(y, inputs)[0]))

        ways = {"functional": functional, "jacobi_newton": jacobi_newton, "newton": newton}

        @eqx.filter_jit
        def paths(inputs: tuple[HollowNet, Array]) -> dict[str, Array]:
            found = {}
            for name, way in ways.items():
                step = lambda y, _, way=way: (way(y, inputs), largest(y, inputs))
                found[name] = jax.lax.scan(step, inputs[1], length=iterations + 1)[1]
            return found

        problems = [
            (hollow_net(dim, 4, 64, 16, seed), jr.normal(jr.key(seed), (dim,))) for seed in seeds
        ]
        found = [paths(inputs) for inputs in problems]
        return {name: np.stack([each[name] for each in found]) for name in ways}
