"""Jacobi-Newton and the implicit steps built on it, against dense algebra and closed forms."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.linalg import expm

from pullback.nn import HollowNet, TwoSidedConditioner
from pullback.ode import SDIRK, JacobiNewton, Result, find_root, solve

# Slow: minutes of compiling.

TIGHT = JacobiNewton(1e-13, 1e-13)
STEP = 0.05
# Off the diagonal as large as on it: Jacobi-Newton has nothing to hold on to.
MATRIX = np.random.default_rng(0).normal(size=(6, 6)) + 0.5 * np.eye(6)


class Stiff(eqx.Module):
    """-rates y plus a hollow net, with its diagonal."""

    net: HollowNet
    rates: jax.Array

    def __call__(self, t, y, args=None):
        return self.net(t, y) - self.rates * y

    def with_diagonal(self, t, y, args=None, *, order=1):
        f, df = self.net.with_diagonal(t, y)
        return f - self.rates * y, df - self.rates


@pytest.fixture(scope="module")
def stiff():
    dim = 20
    conditioner = TwoSidedConditioner(dim, 4, 32, key=jr.key(0))
    net = HollowNet(conditioner, 16, zero_last=False, key=jr.key(1))
    return Stiff(net, jnp.geomspace(1.0, 1000.0, dim)), jr.normal(jr.key(2), (dim,))


def implicit_euler(y, inputs):
    field, y0 = inputs
    f, df = field.with_diagonal(0.0, y)
    return y - y0 - STEP * f, 1 - STEP * df


def dense(y, b):
    """A root problem with a full Jacobian, and its diagonal."""
    matrix = jnp.asarray(MATRIX, y.dtype)
    return matrix @ y + 0.1 * jnp.tanh(y) - b, jnp.diag(matrix) + 0.1 * (1 - jnp.tanh(y) ** 2)


def jacobian_of_dense(y):
    return MATRIX + np.diag(0.1 * (1 - np.tanh(y) ** 2))


def test_jacobi_newton_converges_linearly_where_functional_iteration_diverges(stiff):
    _, y0 = stiff
    one = JacobiNewton(1e-15, 1e-15, jacobi_steps=1, krylov_steps=0)
    residual = jax.jit(lambda y: jnp.max(jnp.abs(implicit_euler(y, stiff)[0])))
    step = jax.jit(lambda y: find_root(implicit_euler, y, stiff, method=one, throw=False)[0])
    functional = jax.jit(lambda y: y - implicit_euler(y, stiff)[0])
    y, z, sizes, growth = y0, y0, [], [float(residual(y0))]
    for _ in range(6):
        y, z = step(y), functional(z)
        sizes.append(float(residual(y)))
        growth.append(float(residual(z)))
    assert sizes[0] < 1e-2
    assert sizes[4] < 1e-13
    assert np.all(np.divide(sizes[1:4], sizes[:3]) < 0.05)
    assert np.all(np.divide(growth[1:], growth[:-1]) > 10)
    # The rate is the spectral radius of what Jacobi-Newton leaves out, which lies below 1.
    jacobian = jax.jit(jax.jacfwd(lambda y: implicit_euler(y, stiff)[0]))(y)
    diagonal = implicit_euler(y, stiff)[1]
    np.testing.assert_allclose(jnp.diag(jacobian), diagonal, rtol=1e-12)
    rest = jacobian / diagonal[:, None] - jnp.eye(len(y0))
    radius = np.max(np.abs(np.linalg.eigvals(np.asarray(rest))))
    assert radius < 0.05
    found, info = find_root(implicit_euler, y0, stiff, method=TIGHT)
    np.testing.assert_allclose(found, y, atol=1e-13)
    assert (bool(info.converged), int(info.krylov_steps)) == (True, 0)
    assert 5 <= int(info.jacobi_steps) <= 7
    assert float(info.update) <= 1


def test_newton_krylov_takes_over_where_the_rest_outweighs_the_diagonal():
    b = jnp.arange(1.0, 7.0)
    rest = MATRIX / np.diag(MATRIX)[:, None] - np.eye(6)
    assert np.max(np.abs(np.linalg.eigvals(rest))) > 1
    root, info = find_root(dense, jnp.zeros(6), b, method=TIGHT)
    np.testing.assert_allclose(dense(root, b)[0], 0, atol=1e-12)
    assert int(info.jacobi_steps) < 20  # it was left as soon as a step grew
    assert 1 <= int(info.krylov_steps) <= 5
    without = JacobiNewton(krylov_steps=0)
    _, info = find_root(dense, jnp.zeros(6), b, method=without, throw=False)
    assert not bool(info.converged)
    with pytest.raises(RuntimeError, match="found no root within its steps"):
        find_root(dense, jnp.zeros(6), b, method=without)


def test_a_diagonal_of_zero_or_a_wrong_one_costs_steps_and_not_the_answer():
    swap = np.array([[0.0, 2.0], [3.0, 0.0]])
    linear = lambda y, b: (jnp.asarray(swap) @ y - b, jnp.zeros(2))
    root, info = find_root(linear, jnp.zeros(2), jnp.array([2.0, 6.0]), method=TIGHT)
    np.testing.assert_allclose(root, [2.0, 1.0], atol=1e-12)
    assert int(info.krylov_steps) >= 1
    wrong = lambda y, b: (y**3 - b, 4 * y**2)
    root, _ = find_root(wrong, jnp.ones(2), jnp.array([2.0, 8.0]), method=TIGHT)
    np.testing.assert_allclose(root, [2 ** (1 / 3), 2.0], rtol=1e-12)


def test_damping_makes_an_overshooting_iteration_converge():
    # Undamped, y -> -1.5 y; with half a step, y -> -0.25 y.
    far = lambda y, _: (2.5 * y, jnp.ones(1))
    for damping, converges in ((1.0, False), (0.5, True)):
        method = JacobiNewton(damping=damping, krylov_steps=0, jacobi_steps=50)
        root, info = find_root(far, jnp.ones(1), method=method, throw=False)
        assert bool(info.converged) is converges
    assert abs(float(root[0])) < 1e-5


@pytest.mark.parametrize("transform", [jax.jacfwd, jax.jacrev])
def test_a_root_is_differentiated_by_the_implicit_function_theorem(transform):
    b = jnp.arange(1.0, 7.0)
    root = lambda b: find_root(dense, jnp.zeros(6), b, method=TIGHT, throw=False)[0]
    found = jax.jit(transform(root))(b)
    np.testing.assert_allclose(found, np.linalg.inv(jacobian_of_dense(root(b))), rtol=1e-9)


def test_a_tiny_cotangent_is_not_taken_for_zero(x32):
    # Far below the rounding of 1 in float32, as the mean over a large batch makes them.
    b, tiny = jnp.arange(1.0, 7.0), 1e-12
    root = lambda b: find_root(
        dense, jnp.zeros(6), b, method=JacobiNewton(1e-5, 1e-5), throw=False
    )[0]
    found = jax.jit(jax.grad(lambda b: tiny * jnp.sum(root(b))))(b)
    expected = np.sum(np.linalg.inv(jacobian_of_dense(np.asarray(root(b), float))), axis=0)
    np.testing.assert_allclose(found / tiny, expected, rtol=1e-3, atol=1e-3)


def test_second_derivatives_and_closed_over_values_are_differentiated_too():
    def cube_root(x):
        inside = lambda y, _: (y**3 - x, 3 * y**2)
        return find_root(inside, jnp.ones(1), method=TIGHT, throw=False)[0][0]

    x = jnp.array([2.0])
    np.testing.assert_allclose(jax.jit(jax.grad(cube_root))(x), x ** (-2 / 3) / 3, rtol=1e-12)
    for second in (jax.hessian(cube_root), jax.jacrev(jax.grad(cube_root))):
        np.testing.assert_allclose(jax.jit(second)(x)[0], -2 / 9 * x ** (-5 / 3), rtol=1e-11)


def test_a_batch_is_solved_lane_by_lane(x32):
    bs = jnp.stack([jnp.arange(1.0, 7.0), jnp.zeros(6)])
    method = JacobiNewton(1e-5, 1e-5)
    roots, info = jax.jit(
        jax.vmap(lambda b: find_root(dense, jnp.zeros(6), b, method=method, throw=False))
    )(bs)
    assert roots.dtype == jnp.float32
    np.testing.assert_allclose(jax.vmap(dense)(roots, bs)[0], 0, atol=1e-4)
    # The second starts at its root, and is done at once.
    assert info.krylov_steps[0] >= 1
    assert info.krylov_steps[1] == 0
    assert np.all(info.converged)


LINEAR = np.array([[-1.0, 0.6, 0.0], [0.3, -80.0, 2.0], [0.0, 1.0, -900.0]])
START = jnp.array([1.0, 0.5, -0.3])
STEPS = 8


def linear(t, y, args):
    return jnp.asarray(LINEAR, y.dtype) @ y


def growth(stages, z):
    """The stability matrix of the method at z = h A, from the rational function of its paper."""
    identity = np.eye(3)
    if stages == 1:
        return np.linalg.inv(identity - z)
    gamma = 1 - 1 / np.sqrt(2)
    inverse = np.linalg.inv(identity - gamma * z)
    return inverse @ inverse @ (identity + (1 - 2 * gamma) * z)


@pytest.mark.parametrize(("stages", "span"), [(1, (0.0, 2.0)), (2, (2.0, 0.0))])
def test_steps_of_a_linear_field_are_those_of_the_stability_function(stages, span):
    # Backwards in time the field is turned round, so that it is the same problem.
    sign = 1.0 if span[1] > span[0] else -1.0
    field = lambda t, y, args: sign * linear(t, y, args)
    sol = solve(field, START, list(span), solver=SDIRK(stages, TIGHT), steps=STEPS)
    expected = np.linalg.matrix_power(growth(stages, 2.0 / STEPS * LINEAR), STEPS) @ START
    np.testing.assert_allclose(sol.ys[-1], expected, rtol=1e-9, atol=1e-13)
    if stages == 2:
        np.testing.assert_allclose(sol.ys[-1], expm(2 * LINEAR) @ START, atol=5e-3)


def test_the_time_of_a_stage_is_the_right_one_in_both_directions():
    # dy/dt = -1000 (y - sin t) + cos t has y = sin t, which order 2 follows to the square of h.
    class Forced(eqx.Module):
        sign: float = eqx.field(static=True)

        def __call__(self, t, y, args=None):
            return self.with_diagonal(t, y)[0]

        def with_diagonal(self, t, y, args=None, *, order=1):
            slope = -self.sign * 1000.0
            return slope * (y - jnp.sin(t)) + jnp.cos(t), jnp.full_like(y, slope)

    for sign, ts in ((1.0, [0.0, 1.0, 3.0]), (-1.0, [3.0, 1.0, 0.0])):
        y0 = jnp.full(1, jnp.sin(ts[0]))
        sol = solve(Forced(sign), y0, ts, solver=SDIRK(2, TIGHT), steps=20)
        np.testing.assert_allclose(sol.ys[:, 0], np.sin(ts), atol=5e-4)


def test_the_order_on_a_nonlinear_field_is_two():
    # The logistic equation, y = 1 / (1 + 9 exp(-t)).
    logistic = lambda t, y, args: y * (1 - y)
    start, exact = jnp.full(1, 0.1), 1 / (1 + 9 * np.exp(-4.0))
    errors = [
        float(solve(logistic, start, [0.0, 4.0], solver=SDIRK(2, TIGHT), steps=n).ys[-1, 0]) - exact
        for n in (20, 40)
    ]  # fmt: skip
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.12)


def test_gradients_of_a_stiff_solve_are_those_of_finite_differences(stiff):
    field, y0 = stiff

    @eqx.filter_jit
    def end(field, y0):
        sol = solve(field, y0, [0.0, 0.5], solver=SDIRK(2, TIGHT), steps=5, throw=False)
        return jnp.sum(sol.ys[-1] ** 2 + sol.ys[-1])

    gradient: Any = eqx.filter_jit(eqx.filter_grad(lambda inputs: end(*inputs)))((field, y0))
    params, rest = eqx.partition((field, y0), eqx.is_inexact_array)
    direction = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size)).reshape(x.shape), params)
    h = 1e-5
    ends = [
        end(*eqx.combine(jax.tree.map(lambda p, d: p + s * h * d, params, direction), rest))  # noqa: B023
        for s in (1, -1)
    ]
    parts = jax.tree.map(lambda g, d: jnp.sum(g * d), eqx.filter(gradient, eqx.is_array), direction)
    np.testing.assert_allclose(
        sum(map(float, jax.tree.leaves(parts))), (ends[0] - ends[1]) / (2 * h), rtol=1e-6
    )


def test_a_batch_goes_per_sample_and_steps_can_adapt(stiff):
    field, y0 = stiff
    y0s = jnp.stack([y0, 0.1 * y0])
    tight = solve(field, y0s[0], [0.0, 0.3], solver=diffrax.Kvaerno5(), rtol=1e-9, atol=1e-10)
    sol = solve(
        field, y0s, [0.0, 0.3], solver=SDIRK(2), stepping="per_sample", rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(sol.ys[0, -1], tight.ys[-1], atol=3e-3)
    # The fastest rate allows an explicit method steps of 2.8 / 1000: 107 steps at the least.
    assert np.all(sol.stats.accepted < 50)
    assert sol.stats.accepted[1] < sol.stats.accepted[0]


def test_a_step_without_a_solution_is_reported():
    blow_up = lambda t, y, args: 1e3 * (1 + y**2)
    sol = solve(blow_up, jnp.ones(1), [0.0, 1.0], solver=SDIRK(1), steps=2, throw=False)
    assert int(sol.result) == Result.SOLVER_FAILED


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="damping must be above 0 and at most 1, got 0"):
        JacobiNewton(damping=0.0)
    with pytest.raises(ValueError, match="rtol must be positive, got 0"):
        JacobiNewton(rtol=0.0)
    with pytest.raises(ValueError, match="krylov_steps must be 0 or more, got -1"):
        JacobiNewton(krylov_steps=-1)
    with pytest.raises(ValueError, match=r"both of shape \[6\]"):
        find_root(lambda y, args: (y, y[0]), jnp.zeros(6))
    with pytest.raises(ValueError, match="SDIRK solves for one vector"):
        solve(lambda t, y, args: -y, jnp.ones((2, 3)), [0.0, 1.0], solver=SDIRK(), steps=2)


def test_a_field_that_knows_its_diagonal_is_asked_for_it():
    asked = []

    class Decay(eqx.Module):
        def __call__(self, t, y, args):
            return -y

        def with_diagonal(self, t, y, args, *, order):
            asked.append(order)
            return -y, -jnp.ones_like(y)

    ys = solve(Decay(), jnp.ones(2), [0.0, 1.0], solver=SDIRK(2), steps=50).ys
    np.testing.assert_allclose(ys[-1], np.exp(-1.0), rtol=1e-3)
    assert asked
