"""The rivals of `bench_sde.py` that are written in JAX, and the floor."""

import diffrax
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax

import pullback as pb
from _sde_problem import diffusion, drift


def pullback_solve(adjoint):
    """`pb.sde.solve`, its increments from a counter."""

    def solve(layers, y0, key, steps):
        return pb.sde.solve(
            drift,
            diffusion,
            y0,
            jnp.array([0.0, 1.0]),
            layers,
            key=key,
            solver=diffrax.Midpoint(),
            steps=steps,
            adjoint=adjoint,
            throw=False,
        ).ys[-1]

    return solve


def diffrax_solve(adjoint):
    """`diffrax.diffeqsolve` on its virtual Brownian tree, resolved to a quarter of a step."""

    def solve(layers, y0, key, steps):
        path = diffrax.VirtualBrownianTree(
            0.0, 1.0, tol=0.25 / steps, shape=jax.ShapeDtypeStruct(y0.shape, y0.dtype), key=key
        )
        noise = lambda t, y, layers: lineax.DiagonalLinearOperator(diffusion(t, y, layers))
        solution = diffrax.diffeqsolve(
            diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(noise, path)),
            diffrax.Midpoint(),
            0.0,
            1.0,
            1.0 / steps,
            y0,
            layers,
            adjoint=adjoint,
            max_steps=steps + 1,
            throw=False,
        )
        assert solution.ys is not None
        return solution.ys[0]

    return solve


def floor_solve(layers, y0, key, steps):
    """A bare scan over the steps, its backward pass the vjp of one step at a time.

    Two evaluations of both networks a step forward, and two evaluations and two vjps backward:
    what any solver has to pay that stores a state for each step.
    """
    dt = 1.0 / steps

    def step(y, number, layers):
        increment = jnp.sqrt(dt) * jr.normal(jr.fold_in(key, number), y.shape, y.dtype)
        move = lambda y: drift(0.0, y, layers) * dt + diffusion(0.0, y, layers) * increment
        return y + move(y + 0.5 * move(y))

    numbers = jnp.arange(steps)

    @jax.custom_vjp
    def integrate(layers, y0):
        return jax.lax.scan(lambda y, k: (step(y, k, layers), None), y0, numbers)[0]

    def forward(layers, y0):
        y1, stored = jax.lax.scan(lambda y, k: (step(y, k, layers), y), y0, numbers)
        return y1, (layers, stored)

    def backward(residuals, y1_bar):
        layers, stored = residuals

        def back(carry, row):
            y_bar, layers_bar = carry
            y, number = row
            _, pull = jax.vjp(lambda y, layers: step(y, number, layers), y, layers)
            y_bar, more = pull(y_bar)
            return (y_bar, jax.tree.map(jnp.add, layers_bar, more)), None

        start = y1_bar, jax.tree.map(jnp.zeros_like, layers)
        (y0_bar, bar), _ = jax.lax.scan(back, start, (stored, numbers), reverse=True)
        return bar, y0_bar

    integrate.defvjp(forward, backward)
    return integrate(layers, y0)


SOLVES = {
    "pullback Replay": pullback_solve(pb.ode.Replay(segment=128)),
    "pullback StochasticAdjoint": pullback_solve(pb.sde.StochasticAdjoint()),
    "diffrax": diffrax_solve(diffrax.RecursiveCheckpointAdjoint()),
    "diffrax BacksolveAdjoint": diffrax_solve(diffrax.BacksolveAdjoint()),
    "floor: a bare scan": floor_solve,
}


def training_step(solve, steps):
    """The value and gradient of mean(y(1)^2) with respect to weights and start."""

    def loss(layers, y0, key):
        return jnp.mean(solve(layers, y0, key, steps) ** 2)

    return jax.value_and_grad(loss, argnums=(0, 1))
