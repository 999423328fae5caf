"""Events: when and where they happen, against closed forms, and the derivatives of both."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.ode import Backsolve, Event, Result, solve

fall = lambda t, y, gravity: jnp.stack([y[1], -gravity])
spring = lambda t, y, args: jnp.stack([y[1], -y[0]])
floor = Event(lambda t, y, gravity: y[0], direction="down")
TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def drop(height, gravity, **options):
    y0 = jnp.stack([height, jnp.zeros_like(height)])
    return solve(fall, y0, [0.0, 1.0, 10.0], gravity, event=floor, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"steps": 4}, {"adjoint": Backsolve(), **TIGHT}, {"solver": diffrax.Tsit5()}],
    ids=lambda options: "-".join(options) or "default",
)
def test_a_falling_body(options):
    """At default settings: the time, the state, and the derivatives of both, in both modes."""
    h, g = jnp.array(20.0), jnp.array(9.81)
    want = np.sqrt(2 * 20 / 9.81)

    def found(h, g):
        sol = drop(h, g, throw=False, **options)
        return jnp.append(sol.event.y, sol.event.t), sol

    slopes, sol = jax.jit(jax.jacrev(found, (0, 1), has_aux=True))(h, g)
    assert bool(sol.event.happened)
    assert int(sol.event.which) == 0
    assert bool(sol.ok)
    np.testing.assert_allclose(sol.event.t, want, rtol=1e-12)
    np.testing.assert_allclose(sol.t_reached, want, rtol=1e-12)
    np.testing.assert_allclose(sol.event.y, [0, -9.81 * want], atol=1e-10)
    np.testing.assert_allclose(sol.ys[1], [20 - 9.81 / 2, -9.81], rtol=1e-7)
    assert np.isnan(sol.ys[2]).all()
    np.testing.assert_allclose(slopes[0], [0, -np.sqrt(9.81 / 40), want / 40], atol=1e-8)
    by_g = [0, -want + want / 2, -want / (2 * 9.81)]
    np.testing.assert_allclose(slopes[1], by_g, atol=1e-8)
    if not options:
        forward = jax.jacfwd(lambda *hg: found(*hg)[0], (0, 1))(h, g)
        np.testing.assert_allclose(forward, slopes, atol=1e-10)
        twice = jax.hessian(lambda h: found(h, g)[0][2])(h)
        np.testing.assert_allclose(twice, -0.25 * want / 400, rtol=1e-6)
        eager = drop(h, g)
        np.testing.assert_allclose(eager.event.t, sol.event.t, rtol=1e-14)


def test_three_bounces():
    """Each begins at the event of the last, where the floor is not to be hit at once."""
    keep = 0.8

    def third(height):
        y, t = jnp.stack([height, jnp.zeros(())]), jnp.zeros(())
        for _ in range(3):
            sol = solve(fall, y, jnp.stack([t, t + 20]), jnp.array(9.81), event=floor, throw=False)
            t, y = sol.event.t, sol.event.y * jnp.array([1.0, -keep])
        return t

    one = np.sqrt(2 * 3.0 / 9.81)
    t, slope = jax.jit(jax.value_and_grad(third))(jnp.array(3.0))
    total = one * (1 + 2 * keep + 2 * keep**2)
    np.testing.assert_allclose(t, total, rtol=1e-9)
    np.testing.assert_allclose(slope, total / 6, rtol=1e-8)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def swing(y0, direction, count, per_sample=False, end=40.0):
    event = Event(lambda t, y, args: y[0], direction=direction, count=count)
    stepping = "per_sample" if per_sample else "joint"
    ts = jnp.stack([jnp.zeros(()), jnp.asarray(end)])
    return solve(spring, y0, ts, event=event, stepping=stepping, throw=False, **TIGHT)


@pytest.mark.parametrize(
    ("direction", "count", "want"),
    [("any", 1, 0.5), ("any", 4, 3.5), ("up", 1, 1.5), ("up", 3, 5.5), ("down", 2, 2.5)],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_crossings_are_counted_by_their_direction(direction, count, want, sign):
    """Also where times decrease: up and down are as the solve runs."""
    sol = swing(jnp.array([1.0, 0.0]), direction, count, end=sign * 40.0)
    np.testing.assert_allclose(sol.event.t, sign * want * np.pi, rtol=1e-7)


def test_each_sample_stops_alone():
    """One is late, one is at the event but for rounding and leaves it, one never crosses."""
    y0 = jnp.array([[1.0, 0.0], [-1e-17, 1.0], [np.cos(1.0), np.sin(1.0)], [0.0, 0.0]])

    def times(y0):
        sol = swing(y0, "any", 1, per_sample=True, end=10.0)
        return jnp.sum(sol.event.t), sol

    (_, sol), slope = jax.value_and_grad(times, has_aux=True)(y0)
    np.testing.assert_array_equal(sol.event.happened, [True, True, True, False])
    np.testing.assert_array_equal(sol.event.which, [0, 0, 0, -1])
    np.testing.assert_allclose(sol.event.t, [np.pi / 2, np.pi, np.pi / 2 + 1, 10.0], rtol=1e-8)
    np.testing.assert_allclose(sol.event.y[3], 0)
    np.testing.assert_array_equal(np.isnan(sol.ys[:, 1, 0]), [True, True, True, False])
    # Of the phase atan2(v, x): d t* = d phase.
    x, v = np.asarray(y0[:3]).T
    np.testing.assert_allclose(slope[:3], np.stack([-v, x], -1), atol=1e-6)
    np.testing.assert_array_equal(slope[3], 0)
    lone = swing(y0[2], "any", 1, end=10.0)
    np.testing.assert_allclose(lone.event.t, sol.event.t[2], rtol=1e-9)


def test_under_vmap():
    y0 = jnp.array([[1.0, 0.0], [np.cos(1.0), np.sin(1.0)]])
    sol = jax.vmap(lambda y: swing(y, "any", 1))(y0)
    np.testing.assert_allclose(sol.event.t, [np.pi / 2, np.pi / 2 + 1], rtol=1e-8)


def test_the_earlier_of_two_events():
    """Both lie in one long step."""
    line = lambda t, y, args: jnp.ones_like(y)
    late, early = (Event(lambda t, y, args, at=at: y - at) for at in (0.7, 0.4))
    sol = solve(line, jnp.array(0.0), [0.0, 1.0], steps=1, event=(late, early))
    assert int(sol.event.which) == 1
    np.testing.assert_allclose(sol.event.t, 0.4, rtol=1e-12)
    alone = solve(line, jnp.array(0.0), [0.0, 1.0], steps=1, event=(late,))
    np.testing.assert_allclose(alone.event.t, 0.7, rtol=1e-12)


def test_no_event_at_all_and_one_at_the_very_end():
    line = lambda t, y, rate: rate * jnp.ones_like(y)
    never = Event(lambda t, y, args: y + 1.0)

    def last(rate, end):
        return solve(line, 0.0, jnp.stack([0.0, end]), rate, event=never).event.t

    assert float(last(2.0, jnp.array(3.0))) == 3.0
    np.testing.assert_array_equal(jax.grad(last, (0, 1))(2.0, jnp.array(3.0)), [0.0, 1.0])
    at_end = Event(lambda t, y, args: y - 1.0)
    sol = solve(line, jnp.array(0.0), [0.0, 0.5, 1.0], 1.0, steps=1, event=at_end)
    assert bool(sol.event.happened)
    assert float(sol.event.t) == 1.0
    assert not np.isnan(sol.ys).any()


def test_a_time_that_moves_and_the_arrays_of_the_root(x32):
    """In float32: by the first time, and by what the root closes over."""

    def found(first, level):
        event = Event(lambda t, y, args: y - level)
        ts = jnp.stack([first, first + 5.0])
        return solve(lambda t, y, args: -y, jnp.array(1.0), ts, event=event).event.t

    t, slopes = jax.value_and_grad(found, (0, 1))(jnp.array(2.0), jnp.array(0.5))
    assert t.dtype == jnp.float32
    np.testing.assert_allclose(t, 2 + np.log(2), rtol=1e-4)
    np.testing.assert_allclose(slopes, [1.0, -2.0], rtol=1e-3)


def test_the_period_of_predator_and_prey():
    """Against differences of a solve, and a period found by quadrature of small steps."""

    def field(t, y, a):
        return jnp.stack([y[0] * (a - y[1]), y[1] * (y[0] - 1.0)])

    @jax.jit
    def period(a):
        event = Event(lambda t, y, a: y[0] - 1.0, direction="up", count=1)
        y0 = jnp.array([1.0, 0.5])
        return solve(field, y0, [0.0, 30.0], a, event=event, throw=False, **TIGHT).event.t

    a, eps = jnp.array(1.1), 1e-4
    slope = jax.grad(period)(a)
    differences = (period(a + eps) - period(a - eps)) / (2 * eps)
    np.testing.assert_allclose(slope, differences, rtol=1e-5)
    sol = solve(field, jnp.array([1.0, 0.5]), [0.0, float(period(a))], a, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(sol.ys[-1], [1.0, 0.5], rtol=1e-7)


def test_jumps_before_an_event():
    """An inflow that is turned off, and the level that is reached only after it is on again."""
    inflow = lambda t, y, edges: jnp.where((t < edges[0]) | (t > edges[1]), 1.0, 0.0)

    def full(edges):
        event = Event(lambda t, y, args: y - 2.0)
        return solve(inflow, 0.0, [0.0, 100.0], edges, jumps=edges, event=event).event.t

    t, slope = jax.value_and_grad(full)(jnp.array([1.5, 30.0]))
    np.testing.assert_allclose(t, 30.5, rtol=1e-9)
    np.testing.assert_allclose(slope, [-1.0, 1.0], atol=1e-9)


def test_complex_states():
    turn = lambda t, z, args: 1j * z
    event = Event(lambda t, z, args: jnp.real(z))
    sol = solve(turn, jnp.array(1.0 + 0j), [0.0, 5.0], event=event, **TIGHT)
    np.testing.assert_allclose(sol.event.t, np.pi / 2, rtol=1e-8)
    np.testing.assert_allclose(sol.event.y, 1j, atol=1e-8)


def test_the_end_of_a_solve():
    """At the last time, or at the event, whichever axis is that of time."""
    y0, ts = jnp.ones((2, 3)), [0.0, 0.5, 1.0]
    run = lambda y0, **way: solve(lambda t, y, args: -y, y0, ts, **way)
    joint, each = run(y0), run(y0, stepping="per_sample")
    np.testing.assert_array_equal(joint.end, joint.ys[-1])
    np.testing.assert_array_equal(each.end, each.ys[:, -1])
    mapped = jax.vmap(lambda y: run(y, stepping="per_sample"))(y0[None])
    np.testing.assert_array_equal(mapped.end, mapped.ys[:, :, -1])
    stopped = run(y0[0], event=Event(lambda t, y, args: y[0] - 0.8))
    np.testing.assert_allclose(stopped.end, [0.8] * 3, rtol=1e-4)
    np.testing.assert_array_equal(stopped.end, stopped.event.y)


def test_failures_are_told():
    """A solve that fails before the event has none, and a root that is not finite fails it."""
    explode = lambda t, y, args: y**2
    never = Event(lambda t, y, args: y + 1.0)
    sol = solve(explode, 1.0, [0.0, 5.0], event=never, throw=False)
    assert not sol.event.happened
    assert int(sol.event.which) == -1
    assert not sol.ok
    assert np.isnan(sol.event.t)
    assert np.isnan(sol.event.y)
    with pytest.raises(Exception, match="fell below the resolution"):
        jax.jit(lambda y0: solve(explode, y0, [0.0, 5.0], event=never).event.t)(1.0)
    bad = Event(lambda t, y, args: jnp.log(0.5 - t))
    sol = solve(lambda t, y, args: -y, 1.0, [0.0, 1.0], event=bad, throw=False)
    assert int(sol.result) == Result.NON_FINITE


def test_wrong_events_are_refused():
    good = Event(lambda t, y, args: y)
    run = functools.partial(solve, lambda t, y, args: -y, 1.0, [0.0, 1.0])
    for wrong, error, message in [
        (lambda: Event(lambda t, y: y), TypeError, "root must be a function root"),
        (lambda: Event(good.root, direction="left"), ValueError, 'must be "up", "down"'),
        (lambda: Event(good.root, count=0), ValueError, "count must be at least 1"),
        (lambda: run(event=lambda t, y, args: y), TypeError, "must be pullback.ode.Event"),
        (lambda: run(event=()), ValueError, "empty tuple"),
        (lambda: run(event=Event(lambda t, y, args: y > 0)), ValueError, "got bool"),
        (lambda: run(event=Event(lambda t, y, args: y[None])), ValueError, "one floating number"),
        (lambda: run(event=good, solver=diffrax.Kvaerno5()), ValueError, "pullback's own loop"),
    ]:
        with pytest.raises(error, match=message):
            wrong()


def test_the_time_of_the_earlier_of_two_is_one_number_to_all_who_read_it():
    """A sum in the place of it was rounded in two ways, and the row of times was out of order."""
    f = lambda t, y, _: jnp.ones_like(y)
    high = Event(lambda t, y, _: y - 0.71)
    late = Event(lambda t, y, _: t - 0.7)
    for events, which in (((high, late), 1), ((late, high), 0)):
        found = solve(f, jnp.array(0.0), [0.0, 1.0], event=events).event
        assert found.which == which
        assert jnp.allclose(found.t, 0.7, rtol=1e-10)
