"""Forward mode of a solve at its default settings: against reverse mode and closed forms."""

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest

from pullback.ode import Backsolve, Replay, solve

A, Y0 = jnp.array(0.7), jnp.array([1.3, -0.4])
OPTIONS = {
    "default": {},
    "fixed": {"steps": 7},
    "per sample": {"stepping": "per_sample"},
    "few kept": {"adjoint": Replay(segment=2, checkpoints=2)},
    "per sample, fixed": {"stepping": "per_sample", "steps": 7},
}
TIMES = {
    "ends": [0.0, 1.0],
    "between": [0.0, 0.3, 0.3, 1.0],
    "backwards": [1.0, 0.2, 0.0, 0.0],
    "nowhere": [0.5, 0.5, 0.5, 0.5],
}


def ys(a, y0, ts, options):
    return solve(lambda t, y, a: a * jnp.sin(y) * jnp.cos(t), y0, ts, a, **options).ys


@cache
def dot_products(options):
    """Of a pair of directions, with the derivative along the one and by the other."""

    @jax.jit
    def both(at, v):
        f = lambda *at: ys(at[0], at[1], at[2], OPTIONS[options])
        out, slopes = jax.jvp(f, at, v)
        u = jnp.cos(jnp.arange(1.0, 1 + out.size)).reshape(out.shape)
        _, pull = jax.vjp(f, *at)
        return jnp.vdot(slopes, u), sum(map(jnp.vdot, v, pull(u)))

    return both


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("times", TIMES)
def test_forward_mode_is_the_transpose_of_reverse_mode(times, options):
    """<J v, u> is <v, J' u>, by the rate, the start and the times at once."""
    at = A, Y0, jnp.array(TIMES[times])
    v = jnp.array(0.4), jnp.array([0.2, -1.1]), jnp.linspace(-0.3, 0.5, len(TIMES[times]))
    got, want = dot_products(options)(at, v)
    assert np.isfinite(got)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def decay(rate, y0=1.0):
    return solve(lambda t, y, rate: -rate * y, y0, [0.0, 0.5, 2.0], rate, rtol=1e-8, atol=1e-8).ys


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_every_way_to_ask_for_it(compiled):
    """Of y = exp(-rate t), by `jvp`, `jacfwd`, `linearize`, mapped, of scans and of themselves."""
    ts, rate = jnp.array([0.0, 0.5, 2.0]), jnp.array(0.6)
    slope = lambda rate: -ts * jnp.exp(-rate * ts)

    def summed(rate):
        ahead = lambda y, _: (decay(rate, y)[-1], None)
        return jax.lax.scan(ahead, 1.0, length=3)[0]

    def found(rate):
        return {
            "jacfwd": jax.jacfwd(decay)(rate),
            "linearize": jax.linearize(decay, rate)[1](jnp.array(2.0)),
            "vmap": jax.vmap(jax.jacfwd(decay))(jnp.stack([rate, 2 * rate])),
            "twice": jax.jacfwd(jax.jacfwd(decay))(rate),
            "scan": jax.jacfwd(summed)(rate),
            "scan, reverse": jax.jit(jax.grad(jax.checkpoint(summed)))(rate),
        }

    want = {
        "jacfwd": slope(rate),
        "linearize": 2 * slope(rate),
        "vmap": jnp.stack([slope(rate), slope(2 * rate)]),
        "twice": ts**2 * jnp.exp(-rate * ts),
        "scan": -6 * jnp.exp(-6 * rate),
        "scan, reverse": -6 * jnp.exp(-6 * rate),
    }
    got = (jax.jit(found) if compiled else found)(rate)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_by_what_a_module_and_a_closure_hold():
    """Beside integers and what is not differentiated, whose slopes are none."""

    class Field(eqx.Module):
        rate: jax.Array
        power: jax.Array

        def __call__(self, t, y, args):
            return -self.rate * y**self.power

    def end(rate, shift):
        field = Field(rate, jnp.array(1))
        moved = lambda t, y, args: field(t, y, args) + shift
        return solve(moved, 1.0, [0.0, 1.0], {"n": 3}, rtol=1e-8, atol=1e-8).ys[-1]

    exact = lambda rate, shift: jnp.exp(-rate) + shift / rate * (1 - jnp.exp(-rate))
    at = jnp.array(0.8), jnp.array(0.3)
    got, want = (jax.jacfwd(f, (0, 1))(*at) for f in (end, exact))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_backsolve_goes_forward_along_the_steps_taken():
    forward = jax.jacfwd(lambda a: ys(a, Y0, [0.0, 0.4, 1.0], {"adjoint": Backsolve()}))(A)
    exact = jax.jacfwd(lambda a: ys(a, Y0, [0.0, 0.4, 1.0], {}))(A)
    np.testing.assert_allclose(forward, exact, rtol=1e-12)


def test_reverse_over_forward_is_refused_by_name():
    tangent = lambda a: jax.jvp(decay, (a,), (1.0,))[1][-1]
    with pytest.raises(RuntimeError, match=r"DirectAdjoint\(\)"):
        jax.grad(tangent)(0.6)


@pytest.mark.parametrize("x64", [True, False])
def test_a_tangent_has_the_dtype_of_its_value(x64):
    with jax.enable_x64(x64):
        rate = jnp.array(0.5)
        out, slope = jax.jvp(decay_of_one, (rate,), (rate,))
        assert out.dtype == slope.dtype == rate.dtype


def decay_of_one(rate):
    return solve(lambda t, y, rate: -rate * y, jnp.ones_like(rate), [0.0, 1.0], rate).ys


@pytest.mark.parametrize(
    "solver",
    [
        optimistix.LevenbergMarquardt(rtol=1e-9, atol=1e-9),
        optimistix.GaussNewton(rtol=1e-9, atol=1e-9),
        optimistix.Newton(rtol=1e-9, atol=1e-9),
    ],
    ids=lambda solver: type(solver).__name__,
)
def test_optimistix_takes_a_solve_in_its_residual(solver):
    """The rate of a decay from two of its values, which are met exactly: log 2."""
    seen = jnp.array([1.0, 2**-0.5, 2**-2.0])

    def residual(rate, seen):
        return decay(rate) - seen

    how: dict[str, Any] = {"args": seen, "max_steps": 30}
    if isinstance(solver, optimistix.Newton):
        last = lambda rate, seen: residual(rate, seen)[-1]
        found = optimistix.root_find(last, solver, jnp.array(0.4), **how)
    else:
        found = optimistix.least_squares(residual, solver, jnp.array(0.4), **how)
    np.testing.assert_allclose(found.value, np.log(2), rtol=1e-6)
