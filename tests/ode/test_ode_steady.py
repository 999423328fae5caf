"""Steady states and their derivatives, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest

from pullback.ode import solve, steady_state

MATRIX = np.array([[-2.0, 1.0], [0.5, -1.0]])


def uptake(t, s, args):
    inflow, most, half = args
    return inflow - most * s / (half + s)


@pytest.mark.parametrize("x64", [True, False])
def test_a_linear_system(x64):
    """At default settings, eagerly and compiled, in both modes: y* = -A^-1 b."""
    with jax.enable_x64(x64):
        a, b = jnp.asarray(MATRIX), jnp.array([1.0, 2.0])
        level = lambda b: steady_state(lambda t, y, b: a @ y + b, jnp.zeros(2), b).y
        want, tol = -np.linalg.solve(MATRIX, [1.0, 2.0]), 1e-8 if x64 else 1e-4
        for way in (level, jax.jit(level)):
            found = way(b)
            np.testing.assert_allclose(found, want, rtol=tol)
            assert found.dtype == b.dtype
        for slope in (jax.jacrev, jax.jacfwd):
            np.testing.assert_allclose(slope(level)(b), -np.linalg.inv(MATRIX), rtol=tol)


def test_an_uptake_that_saturates():
    """s* = v k / (m - v), and where a solution settles; in a batch."""
    level = lambda args: steady_state(uptake, jnp.array(1.0), args).y
    v, m, k = args = jnp.array(1.5), jnp.array(2.0), jnp.array(0.5)
    slope = jax.jit(jax.grad(level))(args)
    v, m, k = 1.5, 2.0, 0.5
    want = k * m / (m - v) ** 2, -v * k / (m - v) ** 2, v / (m - v)
    np.testing.assert_allclose(slope, want, rtol=1e-7)
    late = solve(uptake, 0.0, [0.0, 200.0], args, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(level(args), late.ys[-1], rtol=1e-6)
    rows = jax.vmap(lambda v: level((v, *args[1:])))(jnp.array([0.5, 1.0, 1.5]))
    np.testing.assert_allclose(rows, [0.5 * 0.5 / 1.5, 0.5, 1.5], rtol=1e-7)


def test_a_tree_a_time_and_what_the_field_closes_over():
    def found(rate, t):
        f = lambda t, y, args: {"a": t - y["a"], "b": y["a"] - rate * y["b"]}
        y0 = {"a": jnp.zeros(()), "b": jnp.ones(())}
        newton = optimistix.Newton(rtol=1e-8, atol=1e-8)
        return steady_state(f, y0, t=t, method=newton).y["b"]

    value, slope = jax.value_and_grad(found, (0, 1))(jnp.array(4.0), jnp.array(3.0))
    np.testing.assert_allclose([value, *slope], [0.75, -3 / 16, 0.25], rtol=1e-7)


def test_none_is_told():
    """No zero at all, and a level that is conserved: never a number that looks like one."""
    above = lambda t, y, args: y**2 + 1.0
    found = steady_state(above, jnp.array(0.7), throw=False)
    assert not found.converged
    assert np.isnan(found.y)
    for way in (steady_state, jax.jit(lambda f, y: steady_state(f, y), static_argnums=0)):
        with pytest.raises(Exception, match="found none within its steps"):
            jax.block_until_ready(way(above, jnp.array(0.7)).y)
    for wrong, message in [
        (lambda: steady_state(above, 1.0, rtol=-1.0), "rtol must be positive"),
        (lambda: steady_state(above, 1.0, t=jnp.zeros(2)), "t must be one time"),
        (lambda: steady_state(above, 1.0, max_steps=0), "max_steps must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong()
    with pytest.raises(TypeError, match="a root finder of Optimistix"):
        steady_state(above, 1.0, method="newton")
