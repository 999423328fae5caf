"""The arithmetic of the recipe `neural-ode`."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pullback.data import Labelled
from pullback.models.ode_net import ODEBlock, ODENet
from pullback.recipes.neural_ode import Config, measure


def test_the_traps_closed_form_is_its_solution():
    solution = solve_ivp(lambda t, z: -7.0 * (z - np.cos(t)), (0, 2), [0.0], rtol=1e-11, atol=1e-12)
    exact = measure.trap_solution(jnp.asarray(7.0))
    np.testing.assert_allclose(exact, solution.y[0, -1], rtol=1e-9)


def test_what_a_tolerance_costs_and_buys(x32):
    """z' = z cos 3t, whose solution is x exp(sin(3t) / 3)."""
    block = ODEBlock(lambda t, z, args: z * jnp.cos(3 * t), t1=2.0)
    net = ODENet(eqx.nn.Lambda(jnp.ravel), block, eqx.nn.Lambda(lambda z: 2 * z))
    x = np.array([[0.1, 0.2], [0.2, 0.1], [0.3, 0.1]], np.float32)
    tolerances = (1e-1, 1e-5)
    found = measure.dial(net, Labelled(x, np.array([1, 1, 1])), tolerances)
    exact = 2 * x.astype(float) * np.exp(np.sin(6.0) / 3)
    for tolerance, error in zip(tolerances, found["logit_error"], strict=True):
        logits, solution = net(jnp.asarray(x), rtol=tolerance, atol=tolerance, throw=False)
        assert error == pytest.approx(np.abs(logits - exact).max(), rel=0.05)
        assert found["nfe"][tolerances.index(tolerance)] == int(solution.stats.nfe)
    assert found["wrong"][1] == pytest.approx(200 / 3)
    for name in ("nfe", "Backsolve"):
        assert found[name][0] < found[name][1]
        assert all((count - 2) % 6 == 0 for count in found[name])


def test_a_configuration_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="tolerances must be 2 or more numbers that fall"):
        Config(tolerances=(1e-5, 1e-1))
    with pytest.raises(ValueError, match="memory_steps must be 2 or more numbers that rise"):
        Config(memory_steps=(16,))
