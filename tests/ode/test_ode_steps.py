"""The first, the shortest and the longest step, and tolerances for each leaf of the state."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import Backsolve, PIDController, Result, solve, vjp


def still(t, y, args):
    return jnp.zeros_like(y)


def growth(t, y, args):
    return y


Y0 = jnp.array(1.0)


@pytest.mark.parametrize("ts", [[0.0, 10.0], [10.0, 0.0]])
def test_no_step_is_longer_than_dtmax(ts):
    sol = solve(still, Y0, ts, controller=PIDController(dtmax=2.0), dt0=5.0)
    assert int(sol.stats.accepted) == 5
    free = solve(still, Y0, ts, dt0=5.0)
    assert int(free.stats.accepted) == 2


def test_dt0_spares_the_look_for_a_first_step():
    sol = solve(growth, Y0, [0.0, 1.0], dt0=0.25)
    steps = int(sol.stats.accepted) + int(sol.stats.rejected)
    assert int(sol.stats.nfe) == 1 + 6 * steps
    np.testing.assert_allclose(sol.ys[-1], np.e, rtol=1e-3)


def test_a_step_of_dtmin_that_is_refused_fails_and_is_not_passed():
    cliff = lambda t, y, _: jnp.where(t > 0.5, 1e9, 1.0)
    sol = solve(cliff, Y0, [0.0, 1.0], controller=PIDController(dtmin=1e-2), throw=False)
    assert int(sol.result) == Result.STEP_UNDERFLOW
    assert 0.4 < float(sol.t_reached) <= 0.5
    passed = solve(cliff, Y0, [0.0, 1.0], controller=PIDController(dtmin=1e-2), jumps=[0.5])
    np.testing.assert_allclose(passed.ys[-1], 1.5 + 5e8, rtol=1e-12)


def test_tolerances_of_leaves_and_of_entries():
    y0 = {"a": jnp.ones(2), "b": (jnp.array(1.0), jnp.array(2.0))}
    f = lambda t, y, _: {"a": 3 * y["a"], "b": (-y["b"][0], y["b"][1])}
    ts = [0.0, 2.0]
    run = lambda **how: solve(f, y0, ts, **how)
    one = run(rtol=1e-6, atol=1e-8)
    per_leaf = {"a": jnp.array([1e-8, 1e-8]), "b": (1e-8, 1e-8)}
    same = run(rtol={"a": 1e-6, "b": 1e-6}, atol=per_leaf)
    np.testing.assert_array_equal(same.ys["a"], one.ys["a"])
    loose = run(rtol={"a": 1e3, "b": 1e-6}, atol={"a": 1e3, "b": 1e-8})
    assert int(loose.stats.accepted) < int(one.stats.accepted)
    np.testing.assert_allclose(loose.ys["b"][1][-1], 2 * np.exp(2.0), rtol=1e-5)


def test_tolerances_of_entries_with_steps_per_sample():
    y0 = jnp.array([[1.0, 1e6], [2.0, 3e6]])
    atol = jnp.array([1e-8, 1e-2])
    how = {"rtol": 1e-6, "atol": atol}
    both = solve(lambda t, y, _: -y, y0, [0.0, 1.0], stepping="per_sample", **how)
    alone = [solve(lambda t, y, _: -y, y, [0.0, 1.0], **how).ys for y in y0]
    np.testing.assert_allclose(both.ys, jnp.stack(alone), rtol=1e-12)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rtol": {"a": 1e-3}}, "a tree of numbers like y0 or the top of it"),
        ({"atol": jnp.ones(3)}, r"as many as the leaf has, \[2\]; got \[3\]"),
        ({"atol": jnp.array([1e-3, 0.0])}, "atol must be positive"),
        ({"rtol": jnp.ones(2), "solver": diffrax.Kvaerno3()}, "one rtol and one atol"),
    ],
)
def test_tolerances_that_are_refused(how, message):
    with pytest.raises(ValueError, match=message):
        solve(still, jnp.ones(2), [0.0, 1.0], **how)


def test_backsolve_asks_for_tolerances_of_its_own():
    y0, rtol = jnp.ones(2), jnp.array([1e-6, 1e-5])
    _, pull = vjp(growth, y0, [0.0, 1.0], rtol=rtol, adjoint=Backsolve())
    with pytest.raises(ValueError, match=r"give Backsolve\(rtol=...\)"):
        pull(jnp.ones((2, 2)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtmin": 0.0}, "must be a positive number or None"),
        ({"dtmax": -1}, "must be a positive number or None"),
        ({"dtmin": 2.0, "dtmax": 1.0}, "must not be longer"),
    ],
)
def test_steps_that_cannot_be(given, message):
    with pytest.raises(ValueError, match=message):
        PIDController(**given)
