"""The cases of other libraries' suites, made anew: a release of ours meets what theirs have met.

torchdiffeq (tests/problems.py, odeint_tests.py, gradient_tests.py), Diffrax (test/test_adjoint.py),
jax.experimental.ode (tests/ode_test.py) and torchode (tests of its adjoints). Right values are
closed forms, SciPy's, or differences in float64.
"""

import functools
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pullback.ode import Backsolve, DeferredPenalty, Replay, solve, state_norm, vjp

TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
slow = pytest.mark.slow


def eagerly(f):
    return f


# torchdiffeq's four problems: a field, its solution, and the span.
def constant(t, y, a):
    return a + (y - (a * t + 3.0)) ** 5


def sine(t, y, a):
    return 2 * y / t + a * (t**4 * jnp.sin(2 * t) - t**2 + 4 * t**3)


def sine_at(t, a):
    particular = -(t**4) / 2 * jnp.cos(2 * t) + t**3 / 2 * jnp.sin(2 * t)
    particular += t**2 / 4 * jnp.cos(2 * t) - t**3 + 2 * t**4
    return a * (particular + (jnp.pi - 0.25) * t**2)


SKEW = jnp.array([[0.0, 1.0, -0.5], [-1.0, 0.0, 0.3], [0.5, -0.3, 0.0]])


def rotation(t, y, a):
    return a * (SKEW @ y)


def rotation_at(t, a):
    return jax.scipy.linalg.expm(a * SKEW * t) @ jnp.ones(3)


PROBLEMS: dict[str, Any] = {
    "constant": (constant, lambda t, a: a * t + 3.0, 0.2, (1.0, 4.0)),
    "sine": (sine, sine_at, 1.0, (1.0, 3.0)),
    "rotation": (rotation, rotation_at, 0.7, (1.0, 4.0)),
    "exponential": (lambda t, y, a: a * y, lambda t, a: jnp.exp(a * t), -0.1, (0.0, 8.0)),
}
METHODS: dict[str, Any] = {
    "dopri5": (TIGHT, 1e-6),
    "tsit5": ({"solver": diffrax.Tsit5(), **TIGHT}, 1e-6),
    "dopri8": ({"solver": diffrax.Dopri8(), **TIGHT}, 1e-6),
    "bosh3": ({"solver": diffrax.Bosh3(), "rtol": 1e-7, "atol": 1e-7}, 1e-4),
    "midpoint": ({"solver": diffrax.Midpoint(), "steps": 400}, 2e-3),
    "implicit": ({"solver": diffrax.Kvaerno5(), **TIGHT}, 1e-5),
}


def times_of(span, direction, count=4):
    first, last = span if direction == "forward" else span[::-1]
    return jnp.linspace(first, last, count)


@functools.cache
def solved(problem, method):
    """The solve as one program, which serves both directions."""
    field, options = PROBLEMS[problem][0], METHODS[method][0]
    return jax.jit(lambda y0, ts, a: solve(field, y0, ts, a, **options).ys)


# torchdiffeq: TestSolverError, TestSolverBackwardsInTimeError.
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_values(problem, method, direction):
    field, right, a, span = PROBLEMS[problem]
    (options, close), ts = METHODS[method], times_of(span, direction)
    a = jnp.array(a)
    want = jnp.stack([right(t, a) for t in ts])
    for got in (
        solve(field, want[0], ts, a, **options).ys,
        solved(problem, method)(want[0], ts, a),
    ):
        np.testing.assert_allclose(got, want, rtol=close, atol=close)


# torchdiffeq: TestGradient.test_odeint and test_adjoint; torchode: its adjoints against autograd.
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("adjoint", [Replay(), Backsolve()], ids=["replay", "backsolve"])
@pytest.mark.parametrize("problem", ["constant", "sine", "rotation"])
def test_gradients_by_start_parameters_and_times(problem, adjoint, direction):
    """Against central differences of the same solve, at a tolerance that hides the step sizes."""
    field, right, a, span = PROBLEMS[problem]
    ts = times_of(span, direction, 3)
    start = right(ts[0], jnp.array(a))

    def loss(x):
        y0 = start + x[0]
        ys = solve(field, y0, ts + x[2:], jnp.array(a) + x[1], adjoint=adjoint, **TIGHT).ys
        return jnp.sum(jnp.cos(ys[1] / 10)) + jnp.sum(jnp.sin(ys[2] / 10))

    both, zero = jax.jit(jax.value_and_grad(loss)), jnp.zeros(5)
    _, slope = both(zero)
    np.testing.assert_allclose(jax.grad(loss)(zero), slope, rtol=1e-6, atol=1e-8)
    gaps = 1e-4 * jnp.eye(5)
    differences = [(both(gap)[0] - both(-gap)[0]) / 2e-4 for gap in gaps]
    np.testing.assert_allclose(slope, differences, rtol=1e-4, atol=1e-5)


def pendulum(t, y, args):
    theta, omega = y
    return jnp.stack([omega, -args[0] * omega - args[1] * jnp.sin(theta)])


# jax.experimental.ode: test_pend_grads, test_pytree_state, test_weird_time_pendulum_grads.
@pytest.mark.parametrize(
    "field",
    [
        pendulum,
        lambda t, y, args: pendulum(t, y, args) + jnp.sin(t) * y,
        lambda t, y, args: -jnp.sqrt(t) - y + args[0] - jnp.mean((y + args[1]) ** 2),
    ],
    ids=["pendulum", "time in the field", "decay"],
)
def test_the_fields_of_jax(field):
    """Values as SciPy has them, and the gradient as central differences have it."""
    y0, args, ts = jnp.array([1.0, 0.0]), jnp.array([0.25, 0.98]), jnp.linspace(0.1, 2.0, 4)
    run = jax.jit(lambda y0, args: solve(field, y0, ts, args, **TIGHT).ys)
    velocity = jax.jit(lambda t, y: field(t, y, args))
    want = solve_ivp(velocity, (0.1, 2.0), y0, t_eval=ts, rtol=1e-10, atol=1e-10).y.T
    eager = lambda args: solve(field, y0, ts, args, **TIGHT).ys
    for ys in (run(y0, args), eager(args)):
        np.testing.assert_allclose(ys, want, rtol=1e-6, atol=1e-7)
    slope = jax.jit(jax.grad(lambda args: jnp.sum(jnp.sin(run(y0, args)))))(args)
    same = jax.grad(lambda args: jnp.sum(jnp.sin(eager(args))))(args)
    np.testing.assert_allclose(same, slope, rtol=1e-6)
    total = lambda args: jnp.sum(jnp.sin(run(y0, args)))
    gaps = 1e-5 * jnp.eye(2)
    differences = [(total(args + gap) - total(args - gap)) / 2e-5 for gap in gaps]
    np.testing.assert_allclose(slope, differences, rtol=1e-5)


# jax.experimental.ode: test_vmap, test_forward_mode_raises, test_grad_closure (as closure).
def test_under_vmap_and_from_a_closure():
    rates = jnp.array([0.3, -0.7])
    end = lambda rate: solve(lambda t, y, args: rate * y, jnp.array(2.0), [0.0, 1.0], **TIGHT).ys[
        -1
    ]
    mapped = jax.vmap(jax.value_and_grad(end))
    for got in (mapped(rates), jax.jit(mapped)(rates)):
        np.testing.assert_allclose(got, [2 * jnp.exp(rates)] * 2, rtol=1e-7)


def slopes_of_a_tree(adjoint, way):
    """A state of several arrays, an integer in the arguments, and all of the path in the loss."""
    y0 = {"a": jnp.array([0.5, -1.0]), "b": jnp.array(2.0)}
    weights = jnp.array([[0.1, -0.4], [0.3, 0.2]])

    def loss(y0, weights):
        def field(t, y, args):
            w, power = args
            return {"a": w @ y["a"] * jnp.sin(t), "b": -(y["b"] ** power) + jnp.sum(y["a"])}

        ys = solve(field, y0, jnp.linspace(0.0, 1.5, 5), (weights, 2), adjoint=adjoint, **TIGHT).ys
        return jnp.sum(ys["a"] ** 2) + jnp.sum(ys["b"])

    return jax.tree.leaves(way(jax.grad(loss, (0, 1)))(y0, weights))


@functools.cache
def right_slopes_of_a_tree():
    return slopes_of_a_tree(diffrax.DirectAdjoint(), jax.jit)


# Diffrax: test_against, each of its adjoints with the gradient of the others.
@pytest.mark.parametrize("way", [jax.jit, pytest.param(eagerly, marks=slow)])
@pytest.mark.parametrize(
    "adjoint",
    [
        Replay(segment=3, checkpoints=2),
        Backsolve(seminorm=False),
        diffrax.RecursiveCheckpointAdjoint(checkpoints=3),
        diffrax.BacksolveAdjoint(),
    ],
    ids=lambda a: type(a).__module__.split(".")[0] + type(a).__name__,
)
def test_adjoints_agree(adjoint, way):
    for got, want in zip(slopes_of_a_tree(adjoint, way), right_slopes_of_a_tree(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


# torchode: per-sample solves give each sample what it would get alone.
@pytest.mark.parametrize("way", [jax.jit, pytest.param(eagerly, marks=slow)])
@pytest.mark.parametrize("adjoint", [Replay(), Backsolve()], ids=["replay", "backsolve"])
def test_a_batch_is_its_samples(adjoint, way):
    y0 = jnp.array([[1.0, 0.0], [0.1, 3.0]])
    ts = jnp.array([[0.0, 0.7, 1.5], [2.0, 1.0, 0.5]])
    args = jnp.array([0.2, 1.4])

    def loss(y0, ts, args, stepping):
        ys = solve(pendulum, y0, ts, args, stepping=stepping, adjoint=adjoint, **TIGHT).ys
        return jnp.sum(jnp.sin(ys))

    slopes = lambda stepping: way(lambda *x: jax.grad(loss, (0, 1, 2))(*x, stepping))
    batch, one = slopes("per_sample")(y0, ts, args), slopes("joint")
    alone = [one(y, t, args) for y, t in zip(y0, ts, strict=True)]
    for i in (0, 1):
        np.testing.assert_allclose(batch[i], jnp.stack([g[i] for g in alone]), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(batch[2], alone[0][2] + alone[1][2], rtol=1e-6)


# torchdiffeq: TestAdjointNorm, a norm that leaves out part of the state: what rides along.
@pytest.mark.parametrize("way", [eagerly, pytest.param(jax.jit, marks=slow)])
def test_what_the_norm_leaves_out_has_its_gradient(way):
    field = lambda t, s, a: (a * s[0], s[0] ** 2)
    bar = jnp.array([0.0, 1.0])
    for adjoint in (Replay(), DeferredPenalty(), Backsolve()):
        options: dict[str, Any] = {"norm": state_norm, "adjoint": adjoint, **TIGHT}

        def slope(start, options=options):
            _, pull = vjp(field, (start, jnp.array(0.0)), [0.0, 1.0], jnp.array(0.8), **options)
            return pull((jnp.zeros(2), bar))[0].y0[0]

        got = way(slope)(jnp.array(1.3))
        np.testing.assert_allclose(got, 1.3 * np.expm1(1.6) / 0.8, rtol=1e-6)
