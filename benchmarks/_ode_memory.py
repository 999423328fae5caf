"""What the compiled gradient of a solve with N fixed steps keeps in memory."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp

import pullback as pb
from _ode_jax import dopri5_step
from _ode_problem import Size, field, problem

SIZE = Size(128, 64, 128)
STEPS = (16, 64, 256)


def scan_solve(layers, y0, steps: int):
    """A scan over the steps, differentiated as it stands."""
    dt = 1.0 / steps
    times = jnp.arange(steps) * dt
    return jax.lax.scan(lambda y, t: (dopri5_step(y, layers, t, dt), None), y0, times)[0]


def pullback_solve(adjoint) -> Callable[..., Any]:
    def solve(layers, y0, steps: int):
        ts = jnp.array([0.0, 1.0])
        solution = pb.ode.solve(
            field,
            y0,
            ts,
            layers,
            solver=diffrax.Dopri5(),
            steps=steps,
            adjoint=adjoint,
            throw=False,
        )
        return solution.ys[-1]

    return solve


def diffrax_solve(adjoint) -> Callable[..., Any]:
    def solve(layers, y0, steps: int):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Dopri5(),
            0.0,
            1.0,
            1.0 / steps,
            y0,
            layers,
            adjoint=adjoint,
            max_steps=steps,
            throw=False,
        )
        assert solution.ys is not None
        return solution.ys[0]

    return solve


def gradient_memory(solve: Callable[..., Any], steps: int) -> int:
    """Bytes of temporary memory in the compiled gradient of mean(y(1)^2)."""
    arguments = jax.tree.map(jnp.asarray, problem(SIZE))
    gradient = jax.grad(lambda layers, y0: jnp.mean(solve(layers, y0, steps) ** 2), argnums=(0, 1))
    analysis = jax.jit(gradient).lower(*arguments).compile().memory_analysis()
    assert analysis is not None  # some backends give no account
    return analysis.temp_size_in_bytes


def memory_solves() -> dict[str, Callable[..., Any]]:
    """The ways to a gradient, by name."""
    return {
        "plain scan": scan_solve,
        "pullback Replay": pullback_solve(pb.ode.Replay()),
        "pullback Backsolve": pullback_solve(pb.ode.Backsolve()),
        "diffrax RecursiveCheckpointAdjoint": diffrax_solve(diffrax.RecursiveCheckpointAdjoint()),
        "diffrax DirectAdjoint": diffrax_solve(diffrax.DirectAdjoint()),
        "diffrax BacksolveAdjoint": diffrax_solve(diffrax.BacksolveAdjoint()),
    }
