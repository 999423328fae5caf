"""Solves that Diffrax runs: what it refuses by itself, and whose steps are whose."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import SDIRK, Replay, Result, solve

RATE = 0.7


def growth(t, y, args):
    return RATE * y


class ToSeven(diffrax.Euler):
    """Ends every step at 7."""

    def step(self, *args, **kwargs):
        y, *rest = super().step(*args, **kwargs)
        return (jnp.full_like(y, 7.0), *rest)


@pytest.mark.parametrize(
    "solver", [diffrax.HalfSolver(diffrax.Euler()), ToSeven(), diffrax.LeapfrogMidpoint()], ids=repr
)
def test_a_solver_that_steps_in_its_own_way_does_so(solver):
    run = lambda y0: solve(growth, y0, [0.0, 1.0], solver=solver, steps=4).ys[-1]
    want = diffrax.diffeqsolve(
        diffrax.ODETerm(growth),
        solver,
        0.0,
        1.0,
        None,
        jnp.ones(2),
        stepsize_controller=diffrax.StepTo(jnp.linspace(0, 1, 5)),
    ).ys
    for of in (run, jax.jit(run)):
        np.testing.assert_allclose(of(jnp.ones(2)), np.asarray(want)[-1], rtol=1e-12)


def test_half_steps_of_a_decay():
    """Richardson's extrapolation of Euler's method: (2 (1 - h/2)^2 - (1 - h))^4, as of order 2."""
    solver: Any = diffrax.HalfSolver(diffrax.Euler())
    end = lambda y0: solve(lambda t, y, args: -y, y0, [0.0, 1.0], solver=solver, steps=4).ys[-1]
    for run in (end, jax.jit(end)):
        np.testing.assert_allclose(run(jnp.ones(())), (1 - 1 / 8) ** 8, rtol=1e-12)


@pytest.mark.parametrize("ts", [[0.0, 0.3, 1.0], [0.0, -0.3, -0.3, -1.0]])
@pytest.mark.parametrize("solver", [diffrax.Kvaerno3(), diffrax.Dopri5()])
def test_a_backward_solve_takes_the_fixed_steps_too(solver, ts):
    options: dict[str, Any] = {"adjoint": diffrax.BacksolveAdjoint(), "steps": 8}

    def end(rate):
        f = lambda t, y, rate: rate * y
        return solve(f, jnp.array(1.0), ts, rate, solver=solver, rtol=1e-7, **options).ys[-1]

    got = jax.jit(jax.value_and_grad(end))(jnp.array(RATE))
    end_time = ts[-1]
    np.testing.assert_allclose(got, np.exp(RATE * end_time) * np.array([1, end_time]), rtol=1e-4)


REPEATED = {
    "first": [0.0, 0.0, 1.0, 2.0],
    "middle": [0.0, 1.0, 1.0, 2.0],
    "last": [2.0, 1.0, 0.0, 0.0],
    "all": [1.0, 1.0, 1.0, 1.0],
}
BY_DIFFRAX: dict[str, Any] = {
    "implicit": {"solver": diffrax.Kvaerno3()},
    "sdirk": {"solver": SDIRK(2)},
    "adjoint": {"adjoint": diffrax.RecursiveCheckpointAdjoint()},
}


@pytest.mark.parametrize("steps", [None, 16])
@pytest.mark.parametrize("way", BY_DIFFRAX)
def test_repeated_times_and_their_gradients(way, steps):
    """Values, and gradients by the start and the times, of y0 exp(rate (t_i - t_0)), row by row."""
    ts = jnp.array(list(REPEATED.values()))
    y0 = jnp.arange(1.0, 5.0)[:, None]
    weights = jnp.array([[0.3, -1.0, 2.0, 0.5]] * 4)

    def loss(y0, ts):
        sol = solve(
            growth,
            y0,
            ts,
            steps=steps,
            rtol=1e-6,
            atol=1e-6,
            stepping="per_sample",
            max_steps=2048,
            throw=False,
            **BY_DIFFRAX[way],
        )
        return jnp.sum(weights * sol.ys[..., 0]), sol

    (_, sol), (by_y0, by_ts) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(y0, ts)
    factor = np.exp(RATE * (ts - ts[:, :1]))
    accuracy: Any = {"rtol": 4e-3, "atol": 4e-3} if way == "sdirk" else {"rtol": 1e-4, "atol": 1e-4}
    assert np.all(sol.result == int(Result.SUCCESSFUL))
    np.testing.assert_allclose(sol.ys[..., 0], y0 * factor, **accuracy)
    np.testing.assert_allclose(by_y0[:, 0], np.sum(weights * factor, axis=1), **accuracy)
    want = weights * RATE * y0 * factor
    want = want.at[:, 0].add(-jnp.sum(want, axis=1))
    # SDIRK's values between its steps are interpolated linearly, and so are their slopes.
    if way != "sdirk":
        np.testing.assert_allclose(by_ts, want, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("throw", [False, True])
@pytest.mark.parametrize("ts", REPEATED.values(), ids=REPEATED)
def test_repeated_times_in_one_solve(ts, throw):
    for solver in (SDIRK(2), diffrax.Kvaerno3(), diffrax.Euler()):
        sol = solve(growth, jnp.ones(1), ts, solver=solver, steps=32, throw=throw)
        want = np.exp(RATE * (np.array(ts) - ts[0]))
        np.testing.assert_allclose(sol.ys[:, 0], want, rtol=2e-2)


def test_a_value_that_is_not_finite_is_no_success():
    for adjoint in (Replay(), diffrax.DirectAdjoint()):
        f = lambda t, y, args: jnp.where(t < 0.5, -y, jnp.nan)
        sol = solve(f, jnp.ones(2), [0.0, 1.0], steps=4, adjoint=adjoint, throw=False)
        assert Result(int(sol.result)) is Result.NON_FINITE


def test_traced_times_out_of_order_do_not_raise():
    end = lambda ts: solve(growth, jnp.ones(1), ts, solver=diffrax.Kvaerno3(), throw=False)
    sol = jax.jit(end)(jnp.array([0.0, 2.0, 1.0]))
    assert Result(int(sol.result)) is Result.TIMES_NOT_MONOTONE


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_keeps_its_dtype(dtype):
    ways: Any = ({"solver": diffrax.Kvaerno3()}, {}, {"steps": 8})
    for way in ways:
        y0 = jnp.ones(2, dtype)
        sol = solve(lambda t, y, args: -y, y0, [0.0, 0.5, 1.0], rtol=1e-2, atol=1e-2, **way)
        assert sol.ys.dtype == dtype
        np.testing.assert_allclose(sol.ys[:, 0].astype(float), np.exp([0, -0.5, -1]), atol=0.03)
