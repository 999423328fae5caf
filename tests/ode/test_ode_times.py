"""Times keep what distinguishes them, whatever the dtype of the state."""

import datetime
import inspect

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import SDIRK, Backsolve, Replay, Result, solve, vjp

NOW = 1.7e9


def decay(t, y, args):
    return -0.1 * y


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("gap", [5.0, 100.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 20},
        {"stepping": "per_sample"},
        {"solver": diffrax.Kvaerno3(), "max_steps": 100},
        {"solver": SDIRK(2), "steps": 20},
        {"adjoint": diffrax.RecursiveCheckpointAdjoint(), "max_steps": 100},
    ],
    ids=lambda options: "-".join(options) or "default",
)
def test_seconds_since_1970_with_a_float32_state(x64, gap, options):
    exact = NOW + np.array([0.0, gap, 2 * gap])
    want = np.exp(-0.1 * (exact - NOW))
    with jax.enable_x64(x64):
        y0 = jnp.ones(1, jnp.float32)
        for ts in (exact, exact.tolist(), exact.astype(np.int64)):
            sol = solve(decay, y0, ts, **options)
            np.testing.assert_allclose(np.ravel(sol.ys), want, rtol=5e-3, atol=2e-5)
            assert sol.ys.dtype == np.float32
            np.testing.assert_array_equal(np.asarray(sol.ts), exact)


def test_seconds_since_1970_that_a_compiled_program_holds(x32):
    """Of NumPy's constants in float64: values and slopes are those of the times from the first."""
    exact = NOW + np.array([0.0, 5.0, 10.0])
    end = lambda y0: solve(decay, y0, exact).ys
    y0 = jnp.ones(())
    np.testing.assert_allclose(jax.jit(end)(y0), np.exp([0, -0.5, -1]), rtol=1e-3)
    for slope in (jax.jacrev(end), jax.jit(jax.jacrev(end))):
        np.testing.assert_allclose(slope(y0), np.exp([0, -0.5, -1]), rtol=1e-3)


def test_each_row_counts_from_its_own_first_time(x32):
    ts = np.array([[NOW, NOW + 1, NOW + 2], [0.0, 1e-3, 2e-3], [-5e8, -5e8 - 1, -5e8 - 2]])
    sol = solve(decay, jnp.ones((3, 1)), ts, stepping="per_sample", rtol=1e-6)
    np.testing.assert_allclose(sol.ys[..., 0], np.exp(-0.1 * (ts - ts[:, :1])), rtol=1e-5)
    np.testing.assert_array_equal(sol.ts, ts)


@pytest.mark.parametrize(
    "ts",
    [
        jnp.array([7, 5, 2], jnp.uint32),
        jnp.array([7, 5, 2], jnp.int8),
        jnp.array([7, 5, 2], jnp.float16),
        NOW + jnp.array([0.0, -2.0, -5.0]),
    ],
    ids=lambda ts: ts.dtype.name,
)
def test_known_and_traced_times_give_the_same(ts):
    end = jax.jit(lambda ts: solve(decay, jnp.ones((), jnp.float32), ts, throw=False))
    for sol in (end(ts), solve(decay, jnp.ones((), jnp.float32), ts)):
        np.testing.assert_allclose(sol.ys, np.exp([0, 0.2, 0.5]), rtol=1e-3)
        np.testing.assert_array_equal(sol.ts, ts.astype(float))


@pytest.mark.parametrize("adjoint", [Replay(), Backsolve(), diffrax.DirectAdjoint()], ids=repr)
@pytest.mark.parametrize("stepping", ["joint", "per_sample"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gradients_by_times_far_from_zero(adjoint, stepping, dtype):
    """Of y(t_i) = y0 + sin t_i - sin t_0; the times are float64."""
    ts = 1000.0 + jnp.array([[0.0, 0.5, 2.0], [3.0, 2.5, 1.0]])[: 1 + (stepping != "joint")]
    weights = jnp.array([[0.3, -1.0, 2.0]] * len(ts))

    def loss(ts):
        y0 = jnp.ones((len(ts), 1), dtype)
        ys = solve(
            lambda t, y, args: jnp.cos(t) * jnp.ones_like(y),
            y0 if stepping == "per_sample" else y0[0],
            ts if stepping == "per_sample" else ts[0],
            rtol=1e-5,
            atol=1e-5,
            adjoint=adjoint,
            stepping=stepping,
            max_steps=64,
            throw=False,
        ).ys
        return jnp.sum(weights * ys.reshape(ts.shape).astype(float))

    want = weights * np.cos(ts)
    want = want.at[:, 0].add(-jnp.sum(weights, axis=1) * np.cos(ts[:, 0]))
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(ts), want, atol=2e-3)


def test_vjp_gives_the_gradient_by_times_in_their_dtype():
    ts = jnp.array([2.0, 3.0], jnp.float32)
    f = lambda t, y, args: jnp.cos(t) * jnp.ones_like(y)
    for stepping in ("joint", "per_sample"):
        sol, pull = vjp(f, jnp.ones(1), ts, rtol=1e-8, atol=1e-8, stepping=stepping)
        grads, _ = pull(jnp.zeros_like(sol.ys).at[..., 1].set(1.0).reshape(sol.ys.shape))
        assert grads.ts.dtype == jnp.float32
    sol, pull = vjp(f, jnp.ones(()), ts, rtol=1e-8, atol=1e-8)
    grads, _ = pull(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(grads.ts, [-np.cos(2), np.cos(3)], rtol=1e-6)


@pytest.mark.parametrize("solver", [diffrax.Euler(), diffrax.Dopri5(), diffrax.Kvaerno3()])
def test_the_field_never_sees_a_time_beyond_the_last(solver):
    """`sqrt` is not a number there; random spans, whose steps round past their end."""
    rng = np.random.default_rng(0)
    ts = rng.uniform(0, [[1.0, 2.0]] * 50, (50, 2)).astype(np.float32)
    ts = jnp.sort(jnp.asarray(ts), axis=1)

    def solved(ts):
        f = lambda t, y, last: jnp.sqrt(last - t) * jnp.ones_like(y)
        y0 = jnp.zeros((), jnp.float32)
        return solve(f, y0, ts, ts[1], solver=solver, steps=7, throw=False)

    for sol in (jax.jit(jax.vmap(solved))(ts), solved(ts[0]), solved(ts[1])):
        assert np.all(sol.result == 0)
        assert np.all(np.isfinite(sol.ys))


# The two cannot be told apart when they are counted from the first in float32.
FAR = [0.0, 1e9, 1e9 + 1, 2e9]


@pytest.mark.parametrize(
    ("ts", "error", "message"),
    [
        (FAR, ValueError, r"cast to float32.*1000000000\.0 and 1000000001\.0 \(entries 1 and 2"),
        ([0.0, 1e-46], ValueError, r"1e-46 \(entries 0 and 1\).*jax_enable_x64"),
        ([0.0, 1e39], ValueError, "ts is too large for float32"),
        (np.array(["2024-01-01", "2024-01-02"], "M8[s]"), TypeError, r"t\[0\]\) / np.timedelta64"),
        (np.array([1, 2], "m8[D]"), TypeError, "ts must be numbers, got timedelta64"),
        ([datetime.datetime(2024, 1, 1)] * 2, TypeError, r"got datetime.*total_seconds\(\)"),
        ([1j, 2j], TypeError, "ts must be real numbers, got complex"),
        (["0", "1"], TypeError, "ts must be real numbers, got <U1"),
        ([False, True], TypeError, "ts must be real numbers, got bool"),
        (np.array(3.0), ValueError, r"ts must have shape \[T\] with T at least 2, got \[\]"),
    ],
)
def test_times_that_cannot_be_kept_apart_are_named(ts, error, message, x32):
    for options in ({}, {"steps": 3}, {"solver": diffrax.Kvaerno3()}):
        with pytest.raises(error, match=message):
            inspect.unwrap(solve)(decay, jnp.ones(()), ts, **options)


def test_a_solver_of_diffrax_keeps_its_times_in_the_states_dtype():
    y0 = jnp.ones((), jnp.float32)
    slow = lambda t, y, args: -1e-9 * y
    np.testing.assert_allclose(solve(slow, y0, FAR).ys[-1], np.exp(-2), rtol=1e-3)
    with pytest.raises(ValueError, match="cast to float32"):
        solve(slow, y0, FAR, solver=diffrax.Kvaerno3())


def test_vjp_says_what_dates_are_too(x32):
    dates = np.array(["2024-01-01", "2024-01-02"], "M8[s]")
    with pytest.raises(TypeError, match=r"ts must be numbers, got datetime64.*\(t - t\[0\]\)"):
        inspect.unwrap(vjp)(decay, jnp.ones(()), dates)


@pytest.mark.parametrize("solver", [None, diffrax.Kvaerno3()])
def test_traced_times_that_become_equal_fail(solver):
    end = eqx.filter_jit(
        lambda ts: solve(decay, jnp.ones((), jnp.float32), ts, solver=solver, throw=False)
    )
    sol = end(jnp.array([-1e8, 1.0, 2.0], jnp.float32))
    assert Result(int(sol.result)) is Result.TIMES_NOT_MONOTONE
    assert np.all(np.isnan(sol.ys[1:]))
