"""Fields that jump: y' = u(t) - k y with u constant between jumps, against its closed form."""

from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import Backsolve, DeferredPenalty, Replay, solve, state_norm, vjp

RATE = jnp.array(0.3)
LEVELS = jnp.array([0.0, 2.0, -1.0, 0.5])
TIMES = np.array([0.0, 2.0, 5.0, 8.0])
ULP = float(np.nextafter(3.0, 4.0))
# All of one shape, so that few programs are compiled.
JUMPS = {
    "between": [1.0, 3.5, 7.25],
    "not in order": [7.25, 1.0, 3.5],
    "a short pulse": [6.0, 6.001, 7.0],
    "at an output": [1.0, 5.0, 7.0],
    "at the ends": [0.0, 4.0, 8.0],
    "one twice": [3.0, 3.0, 7.0],
    "next to each other": [3.0, ULP, 7.0],
    "next to the ends": [1e-15, 4.0, float(np.nextafter(np.nextafter(8, 0), 0))],
    "outside": [-1.0, 9.0, np.inf],
}
HOW: dict[str, dict[str, Any]] = {
    "replay": {"rtol": 1e-9, "atol": 1e-9},
    "backsolve": {"rtol": 1e-9, "atol": 1e-9, "adjoint": Backsolve()},
    "fixed": {"steps": 12},
    "fixed, backsolve": {"steps": 12, "adjoint": Backsolve()},
    "heun": {"steps": 400, "solver": diffrax.Heun()},
}
ERROR = {"heun": 2e-5}


def inflow(t, jumps, levels, side="right"):
    """Levels between jumps, whichever way they count a jump itself."""
    after = t > jumps if side == "right" else t >= jumps
    return levels[jnp.sum(after)]


def field(t, y, args, side="right"):
    jumps, levels, rate = args
    return inflow(t, jumps, levels, side) - rate * y


def closed(y0, ts, jumps, levels, rate):
    """The solution, piece by piece; a time that is a jump belongs to the piece before it."""
    jumps = jnp.asarray(jumps)
    sign = jnp.sign(ts[-1] - ts[0])
    edges = jumps[jnp.argsort(sign * jumps)]

    def at(t):
        inner = jnp.where(sign * edges < sign * t, edges, t)
        inner = jnp.where(sign * edges > sign * ts[0], inner, ts[0])
        ends = jnp.concatenate([ts[:1], inner, t[None]])
        middle = jax.lax.stop_gradient(ends[1:] + ends[:-1]) / 2
        level = jax.vmap(lambda m: inflow(m, jax.lax.stop_gradient(jumps), levels))(middle)
        grown = jnp.exp(-rate * (t - ends))
        return y0 * grown[0] + jnp.sum(level / rate * (grown[1:] - grown[:-1]))

    return jnp.stack([at(t) for t in ts])


@partial(jax.jit, static_argnames=("how", "side"))
def ours(y0, ts, jumps, levels, rate, bars, how, side="right"):
    def loss(y0, ts, jumps, levels, rate):
        f = lambda t, y, args: field(t, y, args, side)
        sol = solve(f, y0, ts, (jumps, levels, rate), jumps=jumps, throw=False, **HOW[how])
        return jnp.sum(bars * sol.ys), sol

    return jax.value_and_grad(loss, range(5), has_aux=True)(y0, ts, jumps, levels, rate)


@jax.jit
def wanted(y0, ts, jumps, levels, rate, bars):
    loss = lambda *x: jnp.sum(bars * closed(*x))
    return closed(y0, ts, jumps, levels, rate), jax.grad(loss, range(5))(
        y0, ts, jumps, levels, rate
    )


BARS = jnp.array([0.3, -1.0, 0.7, 2.0])
Y0 = jnp.array(1.5)


def together(case, grads):
    """Which of two times has the gradient is not said where no number lies between them."""
    y0, ts, jumps, *rest = (np.asarray(g) for g in grads)
    if case in ("one twice", "next to each other"):
        jumps = np.array([jumps[0] + jumps[1], jumps[2]])
    if case == "next to the ends":
        jumps = np.array([jumps[1], ts[0] + ts[3] + jumps[0] + jumps[2]])
        ts = ts[1:3]
    return y0, ts, jumps, *rest


@pytest.mark.parametrize("case", JUMPS)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("way", ["increasing", "decreasing"])
def test_values_and_gradients_are_those_of_the_closed_form(case, how, way):
    ts = jnp.asarray(TIMES if way == "increasing" else TIMES[::-1])
    jumps = jnp.array(JUMPS[case])
    finite = jnp.where(jnp.isfinite(jumps), jumps, 99.0)
    ((_, sol), grads) = ours(Y0, ts, jumps, LEVELS, RATE, BARS, how)
    ys, expected = wanted(Y0, ts, finite, LEVELS, RATE, BARS)
    error = ERROR.get(how, 2e-7)
    scale = float(jnp.max(jnp.abs(ys)))
    np.testing.assert_allclose(sol.ys, ys, atol=error * scale)
    grads, expected = together(case, grads), together(case, expected)
    for name, got, want in zip(
        ("y0", "ts", "jumps", "levels", "rate"), grads, expected, strict=True
    ):
        np.testing.assert_allclose(got, want, atol=10 * error * scale, err_msg=name)


@pytest.mark.parametrize("how", ["replay", "fixed"])
def test_both_ways_to_count_the_jump_itself_are_the_same_to_the_bit(how):
    ts, jumps = jnp.asarray(TIMES), jnp.array(JUMPS["at an output"])
    (_, right), left = (
        ours(Y0, ts, jumps, LEVELS, RATE, BARS, how, side)[0] for side in ("right", "left")
    )
    np.testing.assert_array_equal(right.ys, left[1].ys)


def test_float32_far_from_zero_sees_both_sides(x32):
    ts, jumps = [1000.1, 1010.1], jnp.array([1003.3, 1004.7], jnp.float32)
    assert jumps.dtype == jnp.float32

    def end(jumps, on):
        f = lambda t, y, args: jnp.where(on(t, jumps), 2.0, 0.0)
        return solve(f, jnp.array(0.0), ts, jumps=jumps).ys[-1]

    for on in (
        lambda t, j: (t > j[0]) & (t < j[1]),
        lambda t, j: (t >= j[0]) & (t <= j[1]),
    ):
        value, grad = jax.value_and_grad(end)(jumps, on)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, 2 * (jumps[1] - jumps[0]), rtol=2e-4)
        np.testing.assert_allclose(grad, [-2.0, 2.0], rtol=1e-6)


def test_jumps_that_a_cast_makes_one_are_refused(x32):
    with pytest.raises(ValueError, match="would be lost"):
        solve(lambda t, y, _: -y, jnp.ones(3), [0.0, 1.0], jumps=[0.5, 0.5 + 1e-12])


def test_a_jump_is_never_evaluated_itself_and_costs_one_evaluation():
    jumps = jnp.array([5.0, 2.0, 3.5])
    on = lambda t: jnp.where(jnp.any(t == jumps), jnp.nan, jnp.sum(t > jumps).astype(float))
    sol = solve(lambda t, y, _: on(t), jnp.array(0.0), [0.0, 8.0], jumps=jumps, dt0=8.0)
    # Exact: 1.5 * 1 + 1.5 * 2 + 3 * 3.
    np.testing.assert_allclose(sol.ys[-1], 13.5, rtol=1e-15)
    # A step a piece, of six evaluations; one at the start and one after each jump.
    assert int(sol.stats.accepted) == 4
    assert int(sol.stats.rejected) == 0
    assert int(sol.stats.nfe) == 4 * 6 + 1 + 3


def test_a_step_cut_short_by_a_jump_does_not_shorten_the_next():
    f = lambda t, y, _: jnp.zeros_like(y)
    jumps = jnp.array([1e-9, 5.0])
    sol = solve(f, jnp.array(1.0), [0.0, 10.0], jumps=jumps, dt0=5.0)
    assert int(sol.stats.accepted) == 3


def test_per_sample_jumps_are_those_of_each_sample_alone():
    y0 = jnp.array([1.0, 1.5, -2.0])
    ts = jnp.asarray(TIMES)
    jumps = jnp.array([[7.0, 1.0, 3.0], [2.5, np.inf, np.inf], [5.0, 5.0, -1.0]])

    def loss(y0, ts, jumps, stepping):
        how = {"stepping": stepping, "rtol": 1e-9, "atol": 1e-9, "throw": False}
        if stepping == "joint":
            one = lambda y, j: (
                solve(lambda t, y, a: field(t, y, (j, LEVELS, RATE)), y, ts, jumps=j, **how).ys
            )
            ys = jax.vmap(one)(y0, jumps)
        else:
            rows = jnp.where(jnp.isfinite(jumps), jumps, 99.0)
            # The field is one sample's, which finds its own row by its place in the state.
            f = lambda t, y, a: (
                field(t, y[0], (rows[y[1].astype(int)], LEVELS, RATE)),
                jnp.zeros(()),
            )
            g = lambda t, y, a: jnp.stack(f(t, y, a))
            start = jnp.stack([y0, jnp.arange(3.0)], axis=1)
            ys = solve(g, start, ts, jumps=jumps, **how).ys[..., 0]
        return jnp.array([1.0, 2.0, 0.5]) @ ys @ BARS, ys

    both = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True), static_argnums=3)
    (_, want), expected = both(y0, ts, jumps, "joint")
    (_, got), grads = both(y0, ts, jumps, "per_sample")
    np.testing.assert_allclose(got, want, rtol=1e-7)
    for g, e in zip(grads, expected, strict=True):
        np.testing.assert_allclose(g, e, atol=1e-6)


def test_a_solve_run_again_from_a_checkpoint_ends_its_steps_on_the_jumps():
    jumps = jnp.array([0.1, 0.7, 1.3, 2.9])
    rates = jnp.linspace(-1.0, 1.0, 5)

    @partial(jax.jit, static_argnums=1)
    def gradient(jumps, adjoint):
        f = lambda t, y, _: rates[jnp.sum(t > jumps)] * y
        end = lambda jumps: solve(
            f, jnp.array(2.0), [0.0, 4.0], jumps=jumps, adjoint=adjoint, rtol=1e-8, max_steps=256
        ).ys[-1]
        return jax.grad(end)(jumps)

    kept = gradient(jumps, Replay(segment=256))
    np.testing.assert_allclose(gradient(jumps, Replay(segment=2, checkpoints=2)), kept, rtol=1e-10)
    still = gradient(jumps, Replay(segment=3, checkpoints=1))
    np.testing.assert_allclose(still, kept, rtol=1e-10)


def test_deferred_penalty_moves_the_jumps_as_the_full_solve_does():
    def loss(jumps, adjoint):
        def f(t, y, _):
            rate = jnp.where((t > jumps[0]) & (t < jumps[1]), 2.0, 0.0) - y[0]
            return rate, rate**2

        start = (jnp.array(0.5), jnp.array(0.0))
        y, r = solve(
            f, start, [0.0, 4.0], jumps=jumps, rtol=1e-8, norm=state_norm, adjoint=adjoint
        ).ys
        return y[-1] + 0.3 * r[-1]

    jumps = jnp.array([1.0, 2.5])
    full = jax.grad(loss)(jumps, Replay())
    np.testing.assert_allclose(jax.grad(loss)(jumps, DeferredPenalty()), full, rtol=1e-10)


def test_infusions_and_their_times():
    """One compartment: doses of length .5, whose times move the last concentration."""
    k, length = 0.4, 0.5
    doses = jnp.array([1.0, 5.0, 9.0])

    @jax.jit
    def last(doses):
        on = lambda t: jnp.sum((t >= doses) & (t < doses + length))
        f = lambda t, y, _: on(t).astype(float) / length - k * y
        jumps = jnp.concatenate([doses, doses + length])
        sol = solve(f, jnp.array(0.0), [0.0, 12.0], jumps=jumps, rtol=1e-9, atol=1e-12)
        return sol.ys[-1], sol.stats.accepted

    one = lambda d: (jnp.exp(-k * (12 - d - length)) - jnp.exp(-k * (12 - d))) / (k * length)
    value, steps = last(doses)
    np.testing.assert_allclose(value, jnp.sum(one(doses)), rtol=1e-8)
    assert int(steps) < 100
    grad, _ = jax.grad(last, has_aux=True)(doses)
    np.testing.assert_allclose(grad, k * one(doses), rtol=1e-7)


def test_vjp_pulls_back_to_the_jumps_too():
    ts, jumps = jnp.asarray(TIMES), jnp.array(JUMPS["not in order"])
    args = (jumps, LEVELS, RATE)
    _, pull = vjp(field, Y0, ts, args, jumps=jumps, rtol=1e-9, atol=1e-9)
    grads, _ = pull(BARS)
    _, want = wanted(Y0, ts, jumps, LEVELS, RATE, BARS)
    np.testing.assert_allclose(grads.jumps, want[2], atol=1e-6)
    np.testing.assert_allclose(grads.ts, want[1], atol=1e-6)
    _, pull = vjp(field, Y0, ts, args, rtol=1e-6, adjoint=Backsolve())
    assert pull(BARS)[0].jumps is None


def test_forward_mode_has_the_slopes_of_reverse_mode():
    ts, jumps = jnp.asarray(TIMES), jnp.array(JUMPS["at an output"])
    solved = lambda jumps: (
        solve(field, Y0, ts, (jumps, LEVELS, RATE), jumps=jumps, rtol=1e-6, throw=False).ys
    )
    forward, reverse = (jax.jit(mode(solved))(jumps) for mode in (jax.jacfwd, jax.jacrev))
    np.testing.assert_allclose(forward, reverse, atol=1e-10)


@pytest.mark.parametrize("way", [1, -1])
def test_a_solver_that_diffrax_runs_stops_at_jumps(way):
    ts, jumps = jnp.asarray(TIMES[::way]), jnp.array([*JUMPS["not in order"], -3.0, 9.0])

    @jax.jit
    def loss(jumps):
        f = lambda t, y, _: inflow(t, jumps[:3], LEVELS) - RATE * y
        how = {"solver": diffrax.Kvaerno5(), "rtol": 1e-8, "atol": 1e-9, "throw": False}
        ys = solve(f, Y0, ts, jumps=jumps, **how).ys
        return BARS @ ys, ys

    (_, got), grad = jax.value_and_grad(loss, has_aux=True)(jumps)
    ys, want = wanted(Y0, ts, jumps[:3], LEVELS, RATE, BARS)
    np.testing.assert_allclose(got, ys, rtol=1e-6)
    # Diffrax differentiates the sizes of its steps, and outputs between their ends.
    np.testing.assert_allclose(grad, [*want[2], 0.0, 0.0], atol=5e-3)


def test_no_jumps_are_the_program_without():
    f = lambda t, y, _: -y
    text = lambda **more: (
        jax.jit(lambda y: solve(f, y, [0.0, 1.0], throw=False, **more).ys).lower(Y0).as_text()
    )
    assert text() == text(jumps=jnp.zeros(0))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"jumps": 0.5}, r"array of times of shape \[J\], got \[\]"),
        ({"jumps": [np.nan]}, "must not be NaN"),
        ({"jumps": [[0.5]]}, "stepping='per_sample'"),
        ({"jumps": [[0.5], [0.6]], "stepping": "per_sample"}, "has 2 rows, but y0 has 3 samples"),
        ({"jumps": [0.5], "steps": 4, "solver": diffrax.Kvaerno3()}, "leave steps out"),
        ({"dt0": -1.0}, "dt0 must be positive"),
        ({"dt0": 0.1, "steps": 4}, "dt0 is the first of steps that adapt"),
    ],
)
def test_what_is_refused(more, message):
    with pytest.raises(ValueError, match=message):
        solve(lambda t, y, _: -y, jnp.ones(3, jnp.float32), [0.0, 1.0], **more)
