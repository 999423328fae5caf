"""Where the noise is zero an equation is an ODE, whose solution and gradient are known."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pullback as pb

P = 0.8


def error(solver, adjoint, steps):
    """Of y(0.7)^2 and of its derivative by p, of y' = p cos(3t) y from 1."""

    def square(p):
        solution = pb.sde.solve(
            lambda t, y, p: p * jnp.cos(3 * t) * y, lambda t, y, p: 0 * y, jnp.ones(()),
            [0.0, 0.7], p, key=jax.random.key(0), solver=solver, steps=steps, adjoint=adjoint,
        )  # fmt: skip
        return solution.ys[-1] ** 2

    found = jax.jit(jax.value_and_grad(square))(jnp.asarray(P))
    area = np.sin(2.1) / 3
    exact = np.exp(2 * P * area), 2 * area * np.exp(2 * P * area)
    return np.abs(np.subtract(found, exact))


@pytest.mark.parametrize(
    ("solver", "adjoint"),
    [
        (diffrax.ReversibleHeun(), pb.ode.Replay()),
        (diffrax.ReversibleHeun(), pb.sde.StochasticAdjoint()),
        (diffrax.Midpoint(), pb.sde.StochasticAdjoint()),
    ],
)
def test_value_and_gradient_are_of_order_two(solver, adjoint):
    coarse, fine = (error(solver, adjoint, steps) for steps in (32, 64))
    assert np.all(fine < 1e-3)
    assert np.all((coarse / fine > 3.5) & (coarse / fine < 4.5))
