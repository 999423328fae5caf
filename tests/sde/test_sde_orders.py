"""Which derivatives each adjoint has: right against the closed form."""

import inspect

import diffrax
import jax
import jax.numpy as jnp
import pytest

import pullback as pb

solve = inspect.unwrap(pb.sde.solve)
ADJOINTS = {
    "Replay": pb.ode.Replay(),
    "StochasticAdjoint": pb.sde.StochasticAdjoint(),
    "DirectAdjoint": diffrax.DirectAdjoint(),
}
STEPS = 512
# z0, a and b of dZ = aZ dt + bZ o dW.
P, V = jnp.array([1.2, 0.3, 0.5]), jnp.array([0.4, -0.7, 0.6])


def end(p, adjoint, key):
    """Z_1^2 by Heun's method."""
    return (
        solve(
            lambda t, y, p: p[1] * y,
            lambda t, y, p: p[2] * y,
            p[0],
            [0.0, 1.0],
            p,
            key=key,
            solver=diffrax.Heun(),
            steps=STEPS,
            adjoint=adjoint,
            throw=False,
        ).ys[-1]
        ** 2
    )


MODES = {
    "grad": lambda f, p: jax.grad(f)(p),
    "jvp": lambda f, p: jax.jvp(f, (p,), (V,))[1],
    "jvp of grad": lambda f, p: jax.jvp(jax.grad(f), (p,), (V,))[1],
    "grad of grad": lambda f, p: jax.grad(lambda p: jax.grad(f)(p) @ V)(p),
    "grad of jvp": lambda f, p: jax.grad(lambda p: jax.jvp(f, (p,), (V,))[1])(p),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ADJOINTS)
def test_each_mode_of_each_adjoint_is_right(name, mode, key):
    f = lambda p: end(p, ADJOINTS[name], key)
    w = pb.sde.brownian_path(key, jnp.zeros(()), [0.0, 1.0], steps=STEPS)[-1]
    exact = lambda p: (p[0] * jnp.exp(p[1] + p[2] * w)) ** 2
    got, want = (jax.jit(lambda p, f=f: MODES[mode](f, p))(P) for f in (f, exact))
    # Heun's error is about h / 2; a missing term of the second derivative is of order one.
    assert jnp.allclose(got, want, rtol=0.02, atol=0.02)
