"""Gradients of `solve` against closed forms, an unrolled loop, and each other."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import (
    Backsolve,
    Method,
    PIDController,
    Recorder,
    Replay,
    integrate,
    rms_norm,
    solve,
    tableau_of,
    vjp,
)

TIGHT = {"rtol": 1e-11, "atol": 1e-11, "throw": False}
A = jnp.array([[-0.5, 1.2], [-1.0, -0.2]])
Y0 = jnp.array([[1.0, 0.5], [-0.3, 0.8], [0.2, -1.1]])
WEIGHTS = jnp.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.1]])


def linear(t, y, a):
    return y @ a.T


def pendulum(t, y, theta):
    """A field that is not linear and depends on time: [..., 2] -> [..., 2]."""
    q, p = y[..., 0], y[..., 1]
    return jnp.stack([p, -theta[0] * jnp.sin(q) - theta[1] * p * jnp.cos(3 * t)], axis=-1)


THETA = jnp.array([1.3, 0.4])


def exact_linear(a, y0, ts):
    ends = jax.vmap(lambda t: y0 @ jax.scipy.linalg.expm(a * (t - ts[0])).T)(ts)
    return jnp.sum(ends * WEIGHTS[None] * jnp.arange(float(len(ts)))[:, None, None])


@pytest.mark.parametrize("ts", [[0.0, 1.3], [1.3, 0.7, 0.0]], ids=["ends", "dense"])
@pytest.mark.parametrize("stepping", ["joint", "per_sample"])
@pytest.mark.parametrize("adjoint", [Replay(), Backsolve()], ids=["replay", "backsolve"])
def test_closed_form_of_a_linear_ode(adjoint, stepping, ts):
    ts = jnp.array(ts)

    def loss(a, y0, ts):
        ys = solve(linear, y0, ts, a, adjoint=adjoint, stepping=stepping, **TIGHT).ys
        ys = jnp.moveaxis(ys, 1, 0) if stepping == "per_sample" else ys
        return jnp.sum(ys * WEIGHTS[None] * jnp.arange(float(len(ts)))[:, None, None])

    got = jax.jit(jax.grad(loss, (0, 1, 2)))(A, Y0, ts)
    want = jax.jit(jax.grad(exact_linear, (0, 1, 2)))(A, Y0, ts)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, atol=1e-8)


def test_scalar_growth_and_the_gradient_of_the_last_time():
    def end(theta, y0, t1):
        ts = jnp.stack([jnp.zeros(()), t1])
        return solve(lambda t, y, theta: theta * y, y0, ts, theta, **TIGHT).ys[-1]

    theta, y0, t1 = 0.7, 1.5, 1.2
    grads = jax.grad(end, (0, 1, 2))(*map(jnp.asarray, (theta, y0, t1)))
    growth = np.exp(theta * t1)
    np.testing.assert_allclose(grads, [t1 * y0 * growth, growth, theta * y0 * growth], atol=1e-8)


def unrolled(solver, hs, y0, ts, theta, steps=None):
    """The same steps in a Python loop over a textbook tableau, with the outputs interpolated."""
    tableau = solver.tableau
    span = ts[-1] - ts[0]
    # Each step keeps its place relative to the times that it was laid between.
    if steps is None:
        starts = ts[0] + jnp.concatenate([jnp.zeros(1), jnp.cumsum(hs)[:-1]]) / jnp.sum(hs) * span
        sizes = hs / jnp.sum(hs) * span
    else:
        sizes = jnp.repeat(jnp.diff(ts) / steps, steps, total_repeat_length=len(hs))
        starts = jnp.repeat(ts[:-1], steps, total_repeat_length=len(hs))
        starts = starts + sizes * jnp.tile(jnp.arange(float(steps)), len(ts) - 1)
    y, outputs, cursor = y0, [y0], 1
    for n in range(len(hs)):
        t, h = starts[n], sizes[n]
        ks = [pendulum(t, y, theta)]
        for c, row in zip(tableau.c, tableau.a_lower, strict=True):
            inner = y + h * sum(float(w) * k for w, k in zip(row, ks, strict=True))
            ks.append(pendulum(t + float(c) * h, inner, theta))
        y1 = inner  # pyrefly: ignore
        if not tableau.ssal:
            y1 = y + h * sum(float(w) * k for w, k in zip(tableau.b_sol, ks, strict=True))
        dense = solver.interpolation_cls(t0=t, t1=t + h, y0=y, y1=y1, k=h * jnp.stack(ks))
        while cursor < len(ts) - 1 and steps is None and ts[cursor] <= t + h:
            outputs.append(dense.evaluate(ts[cursor]))
            cursor += 1
        if steps is not None and (n + 1) % steps == 0 and cursor < len(ts) - 1:
            outputs.append(y1)
            cursor += 1
        y = y1
    return jnp.stack([*outputs, y])


def recorded_sizes(solver, y0, ts, theta):
    tableau = tableau_of(solver)
    assert tableau is not None
    method = Method(
        tableau=tableau,
        controller=PIDController(),
        norm=rms_norm,
        rtol=jnp.array(1e-3),
        atol=jnp.array(1e-3),
        steps=None,
        max_steps=64,
        per_sample=False,
    )
    path = integrate(method, pendulum, y0, ts, theta, Recorder(64, 1))
    assert path.record is not None
    return path.record.h[: int(path.slots)]


@pytest.mark.parametrize("ts", [[0.0, 2.0], [0.0, 0.1, 0.2, 1.7, 2.0]], ids=["ends", "dense"])
@pytest.mark.parametrize("solver", [diffrax.Dopri5(), diffrax.Tsit5(), diffrax.Bosh3()])
def test_replay_is_the_gradient_of_an_unrolled_loop(solver, ts):
    ts, y0 = jnp.array(ts), Y0[0]
    weights = jnp.linspace(-1.0, 2.0, 2 * len(ts)).reshape(len(ts), 2)
    hs = recorded_sizes(solver, y0, ts, THETA)
    options = {"rtol": 1e-3, "atol": 1e-3, "throw": False, "solver": solver}

    def ours(y0, ts, theta):
        ys = solve(pendulum, y0, ts, theta, adjoint=Replay(segment=4, checkpoints=2), **options).ys
        return jnp.sum(weights * jnp.sin(ys)), ys

    def theirs(y0, ts, theta):
        ys = unrolled(solver, hs, y0, ts, theta)
        return jnp.sum(weights * jnp.sin(ys)), ys

    got, ys = jax.grad(ours, (0, 1, 2), has_aux=True)(y0, ts, THETA)
    want, expected = jax.grad(theirs, (0, 1, 2), has_aux=True)(y0, ts, THETA)
    # The sizes come from another program, whose error estimates cancel to other last digits.
    np.testing.assert_allclose(ys, expected, rtol=1e-11)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10)


def test_replay_of_fixed_steps_is_the_gradient_of_an_unrolled_loop():
    ts, y0 = jnp.array([0.0, 0.3, 1.7, 2.0]), Y0[0]
    solver, steps = diffrax.Heun(), 3
    hs = jnp.zeros(steps * (len(ts) - 1))
    square = lambda ys: jnp.sum(jnp.arange(8.0).reshape(4, 2) * ys**2)
    adjoint = Replay(segment=2, checkpoints=2)

    def ours(y0, ts, theta):
        return square(
            solve(pendulum, y0, ts, theta, solver=solver, steps=steps, adjoint=adjoint).ys
        )

    def theirs(y0, ts, theta):
        return square(unrolled(solver, hs, y0, ts, theta, steps))

    got = jax.grad(ours, (0, 1, 2))(y0, ts, THETA)
    want = jax.grad(theirs, (0, 1, 2))(y0, ts, THETA)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("segment", "checkpoints", "stepping", "ts"),
    [
        (5, 3, "joint", [0.0, 6.0]),
        (1, 1, "joint", [0.0, 1.0, 1.1, 6.0]),
        (2, 5, "per_sample", [0.0, 6.0]),
        (3, 2, "per_sample", [0.0, 1.0, 1.1, 6.0]),
    ],
)
def test_the_memory_of_replay_does_not_change_the_gradient(segment, checkpoints, stepping, ts):
    def loss(y0, theta, adjoint):
        options = {"rtol": 1e-6, "atol": 1e-6, "stepping": stepping, "throw": False}
        sol = solve(pendulum, y0, jnp.array(ts), theta, adjoint=adjoint, **options)
        return jnp.sum(sol.ys**2), sol.stats.accepted

    grad = jax.grad(loss, (0, 1), has_aux=True)
    want, accepted = grad(Y0, THETA, Replay(segment=64))
    got, _ = grad(Y0, THETA, Replay(segment=segment, checkpoints=checkpoints))
    assert np.max(accepted) > segment * checkpoints
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)


def test_a_failing_sample_does_not_spoil_the_gradient_of_the_others():
    """dy/dt = y^2 from 1 blows up at t = 1; from -1 it is -1 / (1 + t)."""

    def loss(y0):
        sol = solve(
            lambda t, y, args: y**2,
            y0,
            [0.0, 1.5],
            rtol=1e-8,
            atol=1e-8,
            stepping="per_sample",
            adjoint=Replay(segment=2, checkpoints=2),
            throw=False,
        )
        return jnp.sum(jnp.where(sol.ok, sol.ys[:, -1], 0.0)), sol

    grad, sol = jax.grad(loss, has_aux=True)(jnp.array([-1.0, 1.0]))
    assert sol.ok.tolist() == [True, False]
    assert np.isnan(sol.ys[1, -1])
    np.testing.assert_allclose(sol.t_reached[1], 1.0, atol=1e-6)
    # d/dy0 of y0 / (1 - y0 t) is 1 / (1 - y0 t)^2.
    np.testing.assert_allclose(grad[0], 1 / 2.5**2, rtol=1e-6)


@pytest.mark.parametrize("adjoint", [Replay(), Backsolve()], ids=["replay", "backsolve"])
def test_hessian_vector_product_forward_over_reverse(adjoint):
    def end(a):
        return jnp.sum(solve(linear, Y0, [0.0, 1.0], a, adjoint=adjoint, **TIGHT).ys[-1] * WEIGHTS)

    exact = lambda a: jnp.sum((Y0 @ jax.scipy.linalg.expm(a).T) * WEIGHTS)
    direction = jnp.array([[0.3, -1.0], [0.2, 0.7]])
    _, got = jax.jvp(jax.grad(end), (A,), (direction,))
    _, want = jax.jvp(jax.grad(exact), (A,), (direction,))
    np.testing.assert_allclose(got, want, atol=1e-7)


def test_reverse_over_reverse_with_diffrax():
    adjoint = diffrax.DirectAdjoint()

    def end(theta):
        f = lambda t, y, theta: theta * y
        sol = solve(f, jnp.array(1.5), [0.0, 1.0], theta, adjoint=adjoint, steps=4, throw=False)
        return sol.ys[-1]

    np.testing.assert_allclose(
        jax.grad(jax.grad(end))(jnp.array(0.7)), 1.5 * np.exp(0.7), rtol=1e-4
    )


def test_gradients_reach_modules_and_closures(key):
    """A module as `f`, and an array that `f` closes over, get the gradient that `args` would."""
    net = eqx.nn.MLP(2, 2, 4, 1, activation=jnp.tanh, key=key)
    scale = jnp.array(1.5)
    arrays, static = eqx.partition(net, eqx.is_array)

    def with_args(net, scale):
        f = lambda t, y, args: args[1] * eqx.combine(args[0], static)(y)
        return jnp.sum(solve(f, Y0[0], [0.0, 1.0], (net, scale), throw=False).ys[-1])

    def with_closure(net, scale):
        f = lambda t, y, args: scale * eqx.combine(net, static)(y)
        return jnp.sum(solve(f, Y0[0], [0.0, 1.0], throw=False).ys[-1])

    class Field(eqx.Module):
        net: eqx.nn.MLP
        scale: jax.Array

        def __call__(self, t, y, args):
            return self.scale * self.net(y)

    def with_module(net, scale):
        field = Field(eqx.combine(net, static), scale)
        return jnp.sum(solve(field, Y0[0], [0.0, 1.0], throw=False).ys[-1])

    want = jax.tree.leaves(jax.grad(with_args, (0, 1))(arrays, scale))
    for loss in (with_closure, with_module):
        got = jax.tree.leaves(jax.grad(loss, (0, 1))(arrays, scale))
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-12)


def test_adjoint_and_discrete_gradients_agree_on_a_nonlinear_problem():
    """f = y^3 A, the problem and the tolerances of torchdiffeq's own gradient test."""
    a = jnp.array([[-0.1, 2.0], [-2.0, -0.1]])
    y0 = jnp.array([2.0, 0.0])

    def end(y0, ts, a, adjoint):
        sol = solve(lambda t, y, a: y**3 @ a, y0, ts, a, rtol=1e-8, atol=1e-8, adjoint=adjoint)
        return jnp.sum(sol.ys[-1])

    ts = jnp.array([0.0, 25.0])
    exact = jax.grad(end, (0, 1, 2))(y0, ts, a, Replay())
    continuous = jax.grad(end, (0, 1, 2))(y0, ts, a, Backsolve())
    for got, want, atol in zip(continuous, exact, (3e-4, 1e-4, 2e-3), strict=True):
        np.testing.assert_allclose(got, want, atol=atol)


def test_stiffness_trap():
    """z' = -lam (z - cos t): the state cannot be traced back, and Backsolve's gradient suffers."""

    def error(adjoint, lam):
        def end(lam):
            f = lambda t, z, lam: -lam * (z - jnp.cos(t))
            options = {"rtol": 1e-4, "atol": 1e-4, "throw": False}
            return solve(f, jnp.array(0.0), [0.0, 2.0], lam, adjoint=adjoint, **options).ys[-1]

        exact = lambda lam: (
            (lam * (lam * jnp.cos(2.0) + jnp.sin(2.0)) - lam**2 * jnp.exp(-2 * lam)) / (1 + lam**2)
        )
        lam = jnp.array(lam)
        want = jax.grad(exact)(lam)
        return float(jnp.abs(jax.grad(end)(lam) / want - 1))

    mild = error(Replay(), 1.0), error(Backsolve(), 1.0)
    stiff = error(Replay(), 25.0), error(Backsolve(), 25.0)
    assert max(mild) < 1e-2
    assert stiff[1] > 5 * stiff[0]


def test_vjp_tells_what_the_backward_pass_costs():
    ts = jnp.array([0.0, 2.0])
    sol, pull = vjp(pendulum, Y0[0], ts, THETA, rtol=1e-6, adjoint=Replay(segment=4))
    bar = jnp.zeros((2, 2)).at[-1].set(1.0)
    grads, stats = pull(bar)
    steps = int(sol.stats.accepted)
    replayed = steps - (steps - 1) % 4 - 1
    assert int(stats.nfe) == 6 * (steps + replayed)
    want = jax.grad(lambda th: jnp.sum(solve(pendulum, Y0[0], ts, th, rtol=1e-6).ys[-1]))(THETA)
    np.testing.assert_allclose(grads.args, want, rtol=1e-12)

    _, pull = vjp(pendulum, Y0[0], ts, THETA, rtol=1e-6, adjoint=Backsolve(rtol=1e-9, atol=1e-9))
    _, tight = pull(bar)
    _, pull = vjp(pendulum, Y0[0], ts, THETA, rtol=1e-6, adjoint=Backsolve())
    _, loose = pull(bar)
    assert int(loose.nfe) == 2 + 6 * int(loose.accepted + loose.rejected)
    assert int(tight.nfe) > 1.5 * int(loose.nfe)


def test_the_seminorm_spares_steps():
    """With theta = 0 only the gradient of theta is rough: the full norm follows it."""
    f = lambda t, y, theta: -y + theta * jnp.sin(50 * t)
    bar = jnp.zeros((2, 2)).at[-1].set(1.0)

    def nfe(seminorm):
        adjoint = Backsolve(seminorm=seminorm)
        _, pull = vjp(f, Y0[0], [0.0, 2.0], jnp.array(0.0), rtol=1e-8, atol=1e-8, adjoint=adjoint)
        return int(pull(bar)[1].nfe)

    assert nfe(True) < nfe(False) / 2


def gradient_memory(steps, adjoint, batch=32, dim=16):
    """Bytes of temporaries of the compiled gradient, for a number of fixed Heun steps."""
    w = jnp.zeros((dim, dim), jnp.float32)
    y0 = jnp.zeros((batch, dim), jnp.float32)
    f = lambda t, y, w: jnp.tanh(y @ w)
    ts = jnp.array([0.0, 1.0], jnp.float32)

    def scan(y0, w):
        def heun(y, _):
            h = jnp.float32(1 / steps)
            k1 = f(0.0, y, w)
            k2 = f(0.0, y + h * k1, w)
            return y + h / 2 * (k1 + k2), None

        return jnp.sum(jax.lax.scan(heun, y0, None, length=steps)[0])

    def ours(y0, w):
        options = {"steps": steps, "throw": False, "adjoint": adjoint}
        return jnp.sum(solve(f, y0, ts, w, solver=diffrax.Heun(), **options).ys[-1])

    grad = jax.jit(jax.grad(scan if adjoint is None else ours, (0, 1)))
    analysis = grad.lower(y0, w).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def test_memory_of_the_backward_pass():
    """Plain back-propagation grows with the steps, Replay is bounded, Backsolve is constant."""
    few, many = 64, 1024
    assert gradient_memory(many, None) > 10 * gradient_memory(few, None)
    assert gradient_memory(many, Backsolve()) == gradient_memory(few, Backsolve())
    replay = gradient_memory(many, Replay())
    # 48 states, a step size for each step, and the temporaries of one step.
    assert replay < 48 * 32 * 16 * 4 + many * 4 + gradient_memory(few, Backsolve()) * 3
    assert replay < gradient_memory(many, None) / 10
