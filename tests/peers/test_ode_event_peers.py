"""What Diffrax and SciPy say of the same events."""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
from scipy.integrate import solve_ivp

from pullback.ode import Event, solve

TIGHT = {"rtol": 1e-8, "atol": 1e-9}


def pendulum(t, y, args):
    return jnp.stack([y[1], -jnp.sin(y[0]) - 0.1 * y[1] + 0.1 * jnp.cos(t)])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def ours(direction, count, end):
    event = Event(lambda t, y, args: y[0] - 0.1 * t, direction=direction, count=count)
    y0 = jnp.array([1.0, 0.0])
    return solve(pendulum, y0, [0.0, end], event=event, throw=False, **TIGHT)


@pytest.mark.parametrize("end", [30.0, -30.0])
@pytest.mark.parametrize(("direction", "sign"), [("any", 0), ("up", 1), ("down", -1)])
def test_the_crossings_of_scipy(direction, sign, end):
    """The first and the third, forward and back."""
    root = lambda t, y: y[0] - 0.1 * t
    root.direction = sign
    field = lambda t, y: np.array([y[1], -np.sin(y[0]) - 0.1 * y[1] + 0.1 * np.cos(t)])
    theirs = solve_ivp(field, (0.0, end), [1.0, 0.0], events=root, rtol=1e-10, atol=1e-11)
    times, states = theirs.t_events[0], theirs.y_events[0]
    for count in (1, 3):
        sol = ours(direction, count, end)
        assert bool(sol.event.happened) == (len(times) >= count)
        if len(times) >= count:
            np.testing.assert_allclose(sol.event.t, times[count - 1], rtol=1e-6)
            np.testing.assert_allclose(sol.event.y, states[count - 1], rtol=1e-5, atol=1e-6)


def test_the_first_event_of_diffrax_and_its_gradient():
    """Diffrax's bouncing ball, with drag."""

    def fall(t, y, drag):
        return jnp.stack([y[1], -9.81 - drag * y[1]])

    def of_diffrax(height, drag):
        event = diffrax.Event(lambda t, y, args, **_: y[0], optimistix.Newton(1e-10, 1e-10))
        return diffrax.diffeqsolve(
            diffrax.ODETerm(fall),
            diffrax.Tsit5(),
            0.0,
            10.0,
            0.01,
            jnp.stack([height, jnp.zeros(())]),
            drag,
            stepsize_controller=diffrax.PIDController(**TIGHT),
            event=event,
        ).ts[0]

    def of_ours(height, drag):
        y0 = jnp.stack([height, jnp.zeros(())])
        return solve(
            fall, y0, [0.0, 10.0], drag, event=Event(lambda t, y, args: y[0]), throw=False, **TIGHT
        ).event.t

    at = jnp.array(5.0), jnp.array(0.3)
    theirs, found = (jax.jit(jax.value_and_grad(one, (0, 1)))(*at) for one in (of_diffrax, of_ours))
    np.testing.assert_allclose(found[0], theirs[0], rtol=1e-7)
    np.testing.assert_allclose(found[1], theirs[1], rtol=1e-6)
