"""The rivals written in JAX: pullback, Diffrax, and the floor below which no solver can go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import pullback as pb
from _harness import CompileTime, compile_program
from _ode_problem import TOLERANCE, Size, field, problem

TABLEAU = diffrax.Dopri5.tableau


@dataclass(frozen=True)
class Rival:
    """One training step, ready to run, and what its first run told.

    Steps and evaluations are those of the forward solve; per sample, of the sample with most.
    """

    run: Callable[[], object]
    y1: Any
    gradient: Any
    nfe: int
    accepted: int
    rejected: int
    compile_time: CompileTime | None = None


def jax_rival(solve: Callable[..., Any], size: Size, compiles: int) -> Rival:
    """A rival from `solve(layers, y0) -> y1 [batch, state], (nfe, accepted, rejected)`."""

    def loss(layers, y0):
        y1, counts = solve(layers, y0)
        return jnp.mean(y1**2), (y1, counts)

    arguments = jax.tree.map(jnp.asarray, problem(size))
    step = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    program, compile_time = compile_program(step, *arguments, repeats=compiles)
    (_, (y1, counts)), (gradient, _) = program(*arguments)
    nfe, accepted, rejected = (int(np.max(each)) for each in counts)
    return Rival(
        run=lambda: jax.block_until_ready(program(*arguments)),
        y1=y1,
        gradient=gradient,
        nfe=nfe,
        accepted=accepted,
        rejected=rejected,
        compile_time=compile_time,
    )


def pullback_solve(stepping: str) -> Callable[..., Any]:
    """`pb.ode.solve` with its default adjoint, Replay."""

    def solve(layers, y0):
        solution = pb.ode.solve(
            field,
            y0,
            jnp.array([0.0, 1.0]),
            layers,
            solver=diffrax.Dopri5(),
            rtol=TOLERANCE,
            atol=TOLERANCE,
            stepping=stepping,  # pyrefly: ignore
            throw=False,
        )
        stats = solution.stats
        y1 = solution.ys[-1] if stepping == "joint" else solution.ys[:, -1]
        return y1, (stats.nfe, stats.accepted, stats.rejected)

    return solve


def diffrax_solve(layers, y0):
    """`diffrax.diffeqsolve` with its default adjoint, one step size for the batch."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Dopri5(),
        0.0,
        1.0,
        None,
        y0,
        layers,
        stepsize_controller=diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
        throw=False,
    )
    assert solution.ys is not None
    accepted, rejected = (solution.stats[f"num_{how}_steps"] for how in ("accepted", "rejected"))
    # Diffrax counts steps only: six evaluations each, and two to choose the first step size.
    return solution.ys[0], (6 * (accepted + rejected) + 2, accepted, rejected)


def diffrax_vmap_solve(layers, y0):
    """`diffrax_solve` mapped over the samples, each with its own step size."""
    return jax.vmap(diffrax_solve, in_axes=(None, 0))(layers, y0)


def dopri5_step(y, layers, t, dt):
    """One Dopri5 step of fixed size: six evaluations, no error estimate."""
    slopes = []
    for node, row in zip((0.0, *TABLEAU.c[:5]), ((), *TABLEAU.a_lower[:5]), strict=True):
        increment = sum((float(a) * k for a, k in zip(row, slopes, strict=True)), jnp.zeros_like(y))
        slopes.append(field(t + float(node) * dt, y + dt * increment, layers))
    return y + dt * sum(float(b) * k for b, k in zip(TABLEAU.b_sol[:6], slopes, strict=True))


def floor_solve(steps: int) -> Callable[..., Any]:
    """A bare scan of `steps` equal steps, its backward pass the vjp of one step at a time.

    Each step costs six evaluations forward, and six evaluations and six vjps backward: what any
    solver has to pay that stores its accepted steps.
    """
    dt = 1.0 / steps
    times = jnp.arange(steps) * dt

    def forward(layers, y0):
        return jax.lax.scan(lambda y, t: (dopri5_step(y, layers, t, dt), y), y0, times)

    @jax.custom_vjp
    def integrate(layers, y0):
        return forward(layers, y0)[0]

    def integrate_forward(layers, y0):
        y1, stored = forward(layers, y0)
        return y1, (layers, stored)

    def integrate_backward(residuals, y1_bar):
        layers, stored = residuals

        def back(carry, stored_step):
            y_bar, layers_bar = carry
            y, t = stored_step
            _, pull = jax.vjp(lambda y, layers: dopri5_step(y, layers, t, dt), y, layers)
            y_bar, more = pull(y_bar)
            return (y_bar, jax.tree.map(jnp.add, layers_bar, more)), None

        start = (y1_bar, jax.tree.map(jnp.zeros_like, layers))
        (y0_bar, layers_bar), _ = jax.lax.scan(back, start, (stored, times), reverse=True)
        return layers_bar, y0_bar

    integrate.defvjp(integrate_forward, integrate_backward)
    return lambda layers, y0: (integrate(layers, y0), (6 * steps, steps, 0))
