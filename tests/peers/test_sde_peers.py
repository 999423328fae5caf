"""Cases that the suites of torchsde and Diffrax cover, in our words and by closed forms.

torchsde: `test_sdeint.py` (every method with every noise), `test_brownian_interval.py` (increments
that add up). Diffrax: `test_sde1.py` (methods on one path), `test_brownian.py`.
"""

import inspect

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pullback as pb

solve = inspect.unwrap(pb.sde.solve)
STEPS, H = 8, 0.125
SECOND = 1 - H + H**2 / 2
# What a step of each method multiplies by, for y' = -y.
FACTORS = {
    diffrax.Euler: 1 - H,
    diffrax.ItoMilstein: 1 - H,
    diffrax.StratonovichMilstein: 1 - H,
    diffrax.Heun: SECOND,
    diffrax.Midpoint: SECOND,
    diffrax.Ralston: SECOND,
}
SOLVERS = [*FACTORS, diffrax.ReversibleHeun]
MATRIX = jnp.array([[0.5, 0.2, 0.1], [0.0, 0.3, -0.4]])


def reversible_heun_of_decay():
    y = hat = 1.0
    for _ in range(STEPS):
        before, hat = hat, 2 * y - hat - H * hat
        y -= 0.5 * H * (before + hat)
    return y


def run(drift, sigma, y0, solver, noise, key, steps=STEPS, ts=(0.0, 1.0)):
    """The compiled paths, after it was seen that the eager ones are the same."""
    options = {"key": key, "solver": solver(), "noise": noise, "steps": steps}
    call = lambda y0: solve(drift, sigma, y0, list(ts), **options).ys
    eager, compiled = call(y0), jax.jit(call)(y0)
    np.testing.assert_allclose(eager, compiled, rtol=1e-12, atol=1e-14)
    return compiled


@pytest.mark.parametrize("noise", ["diagonal", "additive", "general"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_without_noise_each_method_is_that_of_the_ode(solver, noise, key):
    # torchsde: every method runs with every type of noise that it takes.
    shape = (2, 3) if noise == "general" else (2,)
    sigma = lambda t, y, args: jnp.zeros(shape)
    if noise == "general" and "Milstein" in solver.__name__:
        with pytest.raises(ValueError, match="diagonal or additive"):
            run(lambda t, y, args: -y, sigma, jnp.ones(2), solver, noise, key)
        return
    ys = run(lambda t, y, args: -y, sigma, jnp.ones(2), solver, noise, key)
    factor = FACTORS.get(solver)
    want = reversible_heun_of_decay() if factor is None else factor**STEPS
    assert ys.shape == (2, 2)
    assert jnp.allclose(ys[-1], want, rtol=1e-12)


@pytest.mark.parametrize("solver", [s for s in SOLVERS if "Milstein" not in s.__name__])
def test_constant_noise_alone_is_that_multiple_of_the_path(solver, key):
    # Diffrax: all methods agree where the solution is the Brownian motion itself.
    ts = (0.0, 0.3, 0.3, 1.0)
    zero = lambda t, y, args: jnp.zeros_like(y)
    ys = run(zero, lambda t, y, args: MATRIX, jnp.ones(2), solver, "general", key, 2, ts)
    w = pb.sde.brownian_path(key, jnp.zeros(3), list(ts), steps=2)
    assert jnp.allclose(ys, 1 + w @ MATRIX.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("solver", "factor"),
    [
        (diffrax.Euler, lambda x, w, b: 1 + x),
        (diffrax.ItoMilstein, lambda x, w, b: 1 + x + b**2 / 2 * (w**2 - H)),
        (diffrax.StratonovichMilstein, lambda x, w, b: 1 + x + b**2 / 2 * w**2),
        (diffrax.Heun, lambda x, w, b: 1 + x + x**2 / 2),
        (diffrax.Midpoint, lambda x, w, b: 1 + x + x**2 / 2),
        (diffrax.Ralston, lambda x, w, b: 1 + x + x**2 / 2),
    ],
)
def test_linear_noise_multiplies_by_the_method_s_own_polynomial(solver, factor, key):
    # Both suites: geometric Brownian motion, here by each step's factor in x = a h + b dW.
    a, b = 0.3, 0.5
    ys = run(
        lambda t, y, args: a * y, lambda t, y, args: b * y, jnp.ones(()), solver, "diagonal", key
    )
    nodes = pb.sde.brownian_path(key, jnp.zeros(()), np.linspace(0.0, 1.0, STEPS + 1), steps=1)
    w = jnp.diff(nodes)
    assert jnp.allclose(ys[-1], jnp.prod(factor(a * H + b * w, w, b)), rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_path_starts_at_zero_stands_still_and_comes_again(steps, key):
    # torchsde: the same seed gives the same interval; one of no length has no increment.
    of = lambda key: pb.sde.brownian_path(key, jnp.zeros(4), [0.0, 0.0, 1.0, 1.0], steps=steps)
    w = of(key)
    np.testing.assert_allclose(jax.jit(of)(key), w, rtol=1e-12)
    assert jnp.all(w[:2] == 0)
    assert jnp.array_equal(w[2], w[3])
    assert jnp.array_equal(w, of(key))
    assert jnp.all(w[2] != of(jax.random.key(9))[2])
