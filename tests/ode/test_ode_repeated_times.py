"""Gradients at repeated times: every output has its cotangent, whichever times coincide."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import Backsolve, DeferredPenalty, Replay, solve, state_norm, vjp

RATE = np.array([0.7, -0.4])
Y0 = np.array([2.0, -1.0])
# Of one length, so that they share a program.
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
}
ROWS = np.array(list(TIMES.values()))
# Outputs of two times are read from the end of the solve.
ENDS = {"ends": [0.0, 1.0], "backward, ends": [1.0, -1.0], "both": [0.3, 0.3]}
TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
# A method whose last stage is not the next one's first, and one whose is.
HEUN: dict[str, Any] = {"steps": 200, "solver": diffrax.Heun()}
DOPRI5: dict[str, Any] = {"steps": 24}
ADJOINTS = pytest.mark.parametrize("adjoint", [Replay(), Backsolve()], ids=["replay", "backsolve"])


def growth(t, y, rate):
    """y' = rate y cos(t), so y(t) = y0 exp(rate (sin(t) - sin(t0)))."""
    return rate * y * jnp.cos(t)


def riding(t, s, args):
    """The same where each sample has a rate of its own, which rides along."""
    return growth(t, *s), jnp.zeros_like(s[1])


def bars(times):
    return np.random.default_rng(times).normal(size=(times, 2))


def loss(ys):
    return jnp.sum(np.broadcast_to(bars(ys.shape[-2]), ys.shape) * jnp.sin(ys))


def right(ts):
    """The gradient of `loss` by the start, the rate, and the times."""
    ts = np.asarray(ts)
    rise = (np.sin(ts) - np.sin(ts[0]))[:, None]
    ys = Y0 * np.exp(RATE * rise)
    bar = bars(len(ts)) * np.cos(ys) * ys
    by_ts = np.sum(bar * RATE, axis=1) * np.cos(ts)
    by_ts[0] -= np.sum(bar * RATE) * np.cos(ts[0])
    return np.sum(bar, axis=0) / Y0, np.sum(bar * rise, axis=0), by_ts


def close(got, want, atol, name):
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, atol=atol, err_msg=name)


def gradient(adjoint, **options):
    def run(y0, rate, ts):
        return loss(solve(growth, y0, ts, rate, adjoint=adjoint, **options).ys)

    return jax.grad(run, (0, 1, 2))


@pytest.mark.parametrize(("how", "error"), [(TIGHT, 1e-7), (HEUN, 2e-4)], ids=["adaptive", "fixed"])
@ADJOINTS
def test_every_output_has_its_cotangent(adjoint, how, error):
    """By `y0`, `args` and `ts`, against a closed form."""
    compiled = jax.jit(gradient(adjoint, **how))
    for name, times in (TIMES | ENDS).items():
        got = compiled(jnp.asarray(Y0), jnp.asarray(RATE), jnp.asarray(times))
        close(got, right(times), error, name)


@pytest.mark.parametrize(
    ("how", "error"), [(TIGHT, 1e-7), (DOPRI5, 1e-6)], ids=["adaptive", "fixed"]
)
def test_every_output_has_its_cotangent_where_diffrax_runs_the_solve(how, error):
    adjoint = diffrax.RecursiveCheckpointAdjoint()
    compiled = jax.jit(gradient(adjoint, max_steps=256, **how))
    for name, times in TIMES.items():
        got = compiled(jnp.asarray(Y0), jnp.asarray(RATE), jnp.asarray(times))
        close(got, right(times), error, name)


@ADJOINTS
def test_every_output_has_its_cotangent_at_default_settings(adjoint):
    """Eagerly, and by `vjp`, which is the same gradient."""
    eager = gradient(adjoint)
    for name, times in TIMES.items():
        at = jnp.asarray(Y0), jnp.asarray(RATE), jnp.asarray(times)
        got = eager(*at)
        close(got, right(times), 2e-3, name)
        sol, pull = vjp(growth, at[0], at[2], at[1], adjoint=adjoint)
        pulled, _ = pull(bars(len(times)) * jnp.cos(sol.ys))
        close((pulled.y0, pulled.args, pulled.ts), got, 1e-12, name)


@ADJOINTS
def test_samples_that_share_their_times(adjoint):
    def run(y0, rate, ts):
        ys = solve(riding, (y0, rate), ts, adjoint=adjoint, stepping="per_sample", **TIGHT).ys
        return loss(ys[0].T)

    compiled = jax.jit(jax.grad(run, (0, 1, 2)))
    for name, times in TIMES.items():
        got = compiled(jnp.asarray(Y0), jnp.asarray(RATE), jnp.asarray(times))
        close(got, right(times), 1e-7, name)


LANES = {
    "replay, adaptive": (TIGHT, 1e-7),
    "replay, fixed": (DOPRI5, 1e-6),
    "replay, ends": (TIGHT, 1e-7),
    "backsolve": ({"adjoint": Backsolve(), **DOPRI5}, 1e-6),
}


@pytest.mark.parametrize("how", LANES)
def test_lanes_of_which_some_go_nowhere(how):
    """Each sample has its own times: of no length, repeated here and there, forward, backward."""
    options, error = LANES[how]
    rows = np.array(list(ENDS.values())) if how == "replay, ends" else ROWS

    def run(y0, rate, ts):
        return loss(solve(riding, (y0, rate), ts, stepping="per_sample", **options).ys[0])

    at = (np.broadcast_to(x, (len(rows), 2)) for x in (Y0, RATE))
    got = jax.jit(jax.grad(run, (0, 1, 2)))(*map(jnp.asarray, at), jnp.asarray(rows))
    close(got, map(np.stack, zip(*map(right, rows), strict=True)), error, how)


def test_a_deferred_penalty_keeps_every_cotangent():
    """y' = y and r' = y^2, so r = y0^2 (exp(2 t) - 1) / 2."""
    bar, y0 = bars(5)[:, 0], 1.3

    def ours(y0, ts):
        field = lambda t, s, args: (s[0], s[0] ** 2)
        adjoint = DeferredPenalty()
        y, r = solve(field, (y0, 0 * y0), ts, norm=state_norm, adjoint=adjoint, **TIGHT).ys
        return jnp.sum(bar * (y + 0.3 * r))

    compiled = jax.jit(jax.grad(ours, (0, 1)))
    for name, times in TIMES.items():
        grown = np.exp(np.array(times) - times[0])
        by_y0 = np.sum(bar * (grown + 0.3 * y0 * (grown**2 - 1)))
        by_ts = bar * (y0 * grown + 0.3 * y0**2 * grown**2)
        by_ts[0] -= np.sum(by_ts)
        close(compiled(jnp.array(y0), jnp.asarray(times)), (by_y0, by_ts), 1e-7, name)


EVERY: dict[str, Any] = {
    "replay": {},
    "fixed": {"steps": 5},
    "backsolve": {"adjoint": Backsolve()},
    "deferred": {"adjoint": DeferredPenalty()},
    "checkpointed": {"adjoint": diffrax.RecursiveCheckpointAdjoint(), "max_steps": 64},
    "direct": {"adjoint": diffrax.DirectAdjoint(), "max_steps": 64},
    "diffrax's backsolve": {"adjoint": diffrax.BacksolveAdjoint()},
    "forward": {"adjoint": diffrax.ForwardMode()},
}


@pytest.mark.parametrize("how", EVERY)
def test_three_times_of_which_some_are_equal_at_default_settings(how, x32):
    """Of y' = -y from the number 1: the slope of each output is exp(t0 - t) by the start.

    By its time it is the negative, by the first time the sum of all.
    """
    weights = np.array([1.0, 3.0, 10.0], np.float32)
    field = lambda t, y, args: jax.tree.map(jnp.negative, y)
    if how == "deferred":
        field = lambda t, s, args: (-s[0], s[0] ** 2)

    def total(y0, ts):
        if how == "deferred":
            return weights @ solve(field, (y0, 0 * y0), ts, norm=state_norm, **EVERY[how]).ys[0]
        return weights @ solve(field, y0, ts, **EVERY[how]).ys

    def slopes(ts):
        if how == "forward":
            return (jax.jvp(lambda y0: total(y0, ts), (1.0,), (1.0,))[1],)
        # Diffrax's backward solve has no gradient by the times, and says so.
        return jax.grad(total, (0,) if how == "diffrax's backsolve" else (0, 1))(1.0, ts)

    compiled = jax.jit(slopes)
    for times in ([0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.3, 0.3, 0.3], [0.0, 1.0, 1.0]):
        each = weights * np.exp(times[0] - np.array(times))
        by_ts = -each
        by_ts[0] += np.sum(each)
        found = compiled(jnp.array(times))
        np.testing.assert_allclose(found[0], np.sum(each), rtol=1e-4, err_msg=str(times))
        for got in found[1:]:
            np.testing.assert_allclose(got, by_ts, rtol=5e-3, atol=2e-3, err_msg=str(times))
    if how == "replay":
        np.testing.assert_allclose(slopes(jnp.array(times))[0], np.sum(each), rtol=1e-4)
