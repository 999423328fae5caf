"""Gradients at repeated times: every output has its cotangent, whichever times coincide."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import Backsolve, DeferredPenalty, Replay, solve, state_norm, vjp

RATE = jnp.array([0.7, -0.4])
Y0 = jnp.array([2.0, -1.0])
# Of two lengths, so that few programs are compiled.
TIMES = {
    "first": [0.0, 0.0, 0.0, 0.5, 1.0],
    "middle": [0.0, 0.4, 0.4, 0.4, 1.0],
    "last": [0.0, 0.6, 1.0, 1.0, 1.0],
    "first and last": [0.0, 0.0, 0.5, 1.0, 1.0],
    "first or last": [0.0, 0.0, 1.0, 1.0, 1.0],
    "dense": [0.0, 0.01, 0.02, 0.03, 1.0],
    "all": [0.3, 0.3, 0.3, 0.3, 0.3],
    "backward, first": [1.0, 1.0, 1.0, 0.7, 0.0],
    "backward, last": [1.0, 0.5, 0.5, 0.0, 0.0],
    "ends": [0.0, 1.0],
    "backward, ends": [1.0, -1.0],
    "both": [0.3, 0.3],
}
HOW: dict[str, Any] = {
    "default": {},
    "adaptive": {"rtol": 1e-10, "atol": 1e-10},
    "fixed": {"steps": 24},
    # A method whose last stage is not the next one's first.
    "heun": {"steps": 200, "solver": diffrax.Heun()},
}
# What the steps themselves err by.
ERROR = {"default": 2e-3, "adaptive": 1e-7, "fixed": 1e-6, "heun": 2e-4}


def growth(t, y, rate):
    """y' = rate y cos(t), so y(t) = y0 exp(rate (sin(t) - sin(t0)))."""
    return rate * y * jnp.cos(t)


def exact(y0, rate, ts):
    return jax.vmap(lambda t: y0 * jnp.exp(rate * (jnp.sin(t) - jnp.sin(ts[0]))))(ts)


def bars(times):
    return jnp.asarray(np.random.default_rng(times).normal(size=(times, 2)))


def loss_of(ys):
    return lambda y0, rate, ts: jnp.sum(bars(len(ts)) * jnp.sin(ys(y0, rate, ts)))


def close(got, want, atol, name):
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, atol=atol, err_msg=name)


@pytest.mark.parametrize("stepping", ["joint", "per_sample"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("adjoint", [Replay(), Backsolve()], ids=["replay", "backsolve"])
def test_every_output_has_its_cotangent(adjoint, how, stepping):
    """By `y0`, `args` and `ts`, eagerly, compiled and by `vjp`, against a closed form."""
    options: dict[str, Any] = {"adjoint": adjoint, "stepping": stepping, **HOW[how]}
    joint = stepping == "joint"
    # Each sample has a rate of its own, which rides along.
    field = growth if joint else lambda t, s, _: (growth(t, *s), jnp.zeros_like(s[1]))

    def ys(y0, rate, ts):
        if joint:
            return solve(field, y0, ts, rate, **options).ys
        return solve(field, (y0, rate), ts, **options).ys[0].T

    eager = jax.grad(loss_of(ys), (0, 1, 2))
    compiled, right = jax.jit(eager), jax.jit(jax.grad(loss_of(exact), (0, 1, 2)))
    for name, times in TIMES.items():
        ts = jnp.asarray(times)
        got = compiled(Y0, RATE, ts)
        close(got, right(Y0, RATE, ts), ERROR[how], name)
        if how == "default":
            close(eager(Y0, RATE, ts), got, 1e-12, name)
        if joint:
            sol, pull = vjp(field, Y0, ts, RATE, **options)
            pulled, _ = pull(bars(len(ts)) * jnp.cos(sol.ys))
            close((pulled.y0, pulled.args, pulled.ts), got, 1e-12, name)


@pytest.mark.parametrize("how", ["adaptive", "fixed"])
def test_lanes_of_which_some_go_nowhere(how):
    """Each sample has its own times: of no length, repeated here and there, forward, backward."""
    rows = [times for times in TIMES.values() if len(times) == 5]
    ts, bar = jnp.asarray(rows), bars(5)
    y0, rate = (jnp.broadcast_to(x, (len(rows), 2)) for x in (Y0, RATE))

    def ours(y0, rate, ts):
        field = lambda t, s, _: (growth(t, *s), jnp.zeros_like(s[1]))
        ys = solve(field, (y0, rate), ts, stepping="per_sample", **HOW[how]).ys[0]
        return jnp.sum(bar[None] * jnp.sin(ys))

    right = jax.vmap(jax.grad(loss_of(exact), (0, 1, 2)))(y0, rate, ts)
    close(jax.jit(jax.grad(ours, (0, 1, 2)))(y0, rate, ts), right, ERROR[how], how)


@pytest.mark.parametrize("how", ["adaptive", "fixed"])
@pytest.mark.parametrize("stepping", ["joint", "per_sample"])
def test_every_output_has_its_cotangent_where_diffrax_runs_the_solve(stepping, how):
    adjoint = diffrax.RecursiveCheckpointAdjoint()

    def ys(y0, rate, ts):
        field = lambda t, s, _: (growth(t, *s), jnp.zeros_like(s[1]))
        options: dict[str, Any] = {"stepping": stepping, "adjoint": adjoint, **HOW[how]}
        ys = solve(field, (y0, rate), ts, **options).ys[0]
        return ys.T if stepping == "per_sample" else ys

    compiled = jax.jit(jax.grad(loss_of(ys), (0, 1, 2)))
    right = jax.jit(jax.grad(loss_of(exact), (0, 1, 2)))
    for name, times in TIMES.items():
        ts = jnp.asarray(times)
        close(compiled(Y0, RATE, ts), right(Y0, RATE, ts), ERROR[how], name)


def test_a_deferred_penalty_keeps_every_cotangent():
    """y' = y and r' = y^2, so r = y0^2 (exp(2 t) - 1) / 2."""
    bar = bars(5)[:, 0]
    field = lambda t, s, args: (s[0], s[0] ** 2)

    def ours(y0, ts):
        options: dict[str, Any] = {
            "norm": state_norm,
            "adjoint": DeferredPenalty(),
            **HOW["adaptive"],
        }
        y, r = solve(field, (y0, 0 * y0), ts, **options).ys
        return jnp.sum(bar * (y + 0.3 * r))

    def right(y0, ts):
        grown = jnp.exp(ts - ts[0])
        return jnp.sum(bar * (y0 * grown + 0.15 * y0**2 * (grown**2 - 1)))

    compiled = jax.jit(jax.grad(ours, (0, 1)))
    for name, times in TIMES.items():
        if len(times) == 5:
            at = jnp.array(1.3), jnp.asarray(times)
            close(compiled(*at), jax.grad(right, (0, 1))(*at), 1e-7, name)


EVERY: dict[str, Any] = {
    "replay": {},
    "fixed": {"steps": 5},
    "backsolve": {"adjoint": Backsolve()},
    "silent": {"adjoint": DeferredPenalty()},
    "checkpointed": {"adjoint": diffrax.RecursiveCheckpointAdjoint(), "max_steps": 64},
    "direct": {"adjoint": diffrax.DirectAdjoint(), "max_steps": 64},
    "diffrax's backsolve": {"adjoint": diffrax.BacksolveAdjoint()},
    "forward": {"adjoint": diffrax.ForwardMode()},
}


@pytest.mark.parametrize("how", EVERY)
def test_three_times_of_which_some_are_equal_at_default_settings(how, x32):
    """Of y' = -y from the number 1: the slope of each output is exp(t0 - t)."""
    field = lambda t, y, args: jax.tree.map(jnp.negative, y)
    if how == "silent":
        field = lambda t, s, args: (-s[0], s[0] ** 2)

    def ys(y0, ts):
        if how == "silent":
            return solve(field, (y0, 0 * y0), ts, norm=state_norm, **EVERY[how]).ys[0]
        return solve(field, y0, ts, **EVERY[how]).ys

    def slopes(ts):
        if how == "forward":
            return jax.jvp(lambda y0: ys(y0, ts), (1.0,), (1.0,))[1]
        return jax.jacrev(ys)(1.0, ts)

    compiled = jax.jit(slopes)
    for times in ([0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]):
        ts = jnp.array(times)
        right = jnp.exp(ts[0] - ts)
        np.testing.assert_allclose(compiled(ts), right, rtol=1e-4, err_msg=str(times))
        if times[1] == times[2]:
            continue
        np.testing.assert_allclose(slopes(ts), right, rtol=1e-4, err_msg=str(times))


# Diffrax's backward solve has no gradient by the times, and says so.
BY_TIMES = ["replay", "fixed", "backsolve", "checkpointed", "direct"]


@pytest.mark.parametrize("how", BY_TIMES)
def test_the_slope_by_the_times_of_a_solve_of_no_length(how, x32):
    """Of y' = 0.7 y from 2, where the two times are one: -1.4 and 1.4."""
    end = lambda ts: solve(lambda t, y, args: 0.7 * y, 2.0, ts, **EVERY[how]).ys[-1]
    ts = jnp.array([0.3, 0.3])
    for slope in (jax.grad(end), jax.jit(jax.grad(end))):
        np.testing.assert_allclose(slope(ts), [-1.4, 1.4], rtol=1e-6)
