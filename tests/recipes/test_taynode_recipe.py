"""The arithmetic of the recipe `taynode`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pullback.data import Labelled
from pullback.models.ode_net import ODEBlock, ODENet, classification_loss
from pullback.recipes.taynode import Config, _network, measure, mnist, regularised_loss


def test_without_a_regulariser_the_loss_and_its_gradient_are_the_plain_classifiers(x32):
    """Bit for bit; with one, the loss that is shown is still the task's."""
    net = _network(Config(width=5, solver_steps=2), 6, jr.key(0))
    batch = jr.normal(jr.key(1), (3, 6)), jnp.arange(3)

    def answer(loss):
        both = eqx.filter_value_and_grad(lambda net: loss(net, batch, key=jr.key(2))[0])
        return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter_jit(both)(net))]

    plain = answer(classification_loss)
    none = answer(lambda *args, key: regularised_loss(0, 0.0, *args, key=key))
    assert [a.tobytes() for a in plain] == [a.tobytes() for a in none]
    some = answer(lambda *args, key: regularised_loss(1, 0.5, *args, key=key))
    np.testing.assert_allclose(some[0], plain[0], rtol=1e-6)
    assert not np.allclose(some[1], plain[1], rtol=1e-2)


class Growth(eqx.Module):
    """z' = a z, whose every derivative is known."""

    rate: jax.Array

    def __call__(self, t, y, args=None):
        return self.rate * y


def grower(rate: float, steps: int) -> ODENet:
    field = Growth(jnp.asarray(rate, jnp.float32))
    head = eqx.tree_at(
        lambda h: (h.weight, h.bias), eqx.nn.Linear(2, 2, key=jr.key(0)), (jnp.eye(2), jnp.zeros(2))
    )
    return ODENet(eqx.nn.Lambda(jnp.ravel), ODEBlock(field, steps=steps), head)


def test_what_is_measured_of_a_network_whose_solution_is_known(x32):
    x = np.array([[1.0, 0.5], [0.25, 1.0], [0.5, 0.25]], np.float32)
    found = measure.measure(grower(0.5, 1), Labelled(x, np.array([0, 1, 1])), (1, 2), (1e-4, 1e-9))
    assert found["error"] == pytest.approx(100 / 3)
    energy = np.mean(x**2) * np.expm1(1.0)
    for order in (1, 2):
        assert found[f"R_{order}"] == pytest.approx(0.25**order * energy, rel=1e-5)
    # One step of Dopri5 for z' = z / 2: the exponential series up to its fifth power, whose sixth
    # coefficient is 1/600.
    powers = 0.5 ** np.arange(7)
    series = np.sum(powers * [1, 1, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 600])
    error = np.sqrt(np.mean(x**2)) * abs(series - np.exp(0.5))
    assert found["step_error"] == pytest.approx(error, rel=1e-3)
    coarse, fine = found["nfe"]
    assert coarse < fine
    assert [(n - 2) % 6 for n in (coarse, fine)] == [0, 0]


def test_the_papers_field_takes_the_logistic_function_of_the_state(x32):
    net = _network(Config(field="logistic", width=3), 4, jr.key(0))
    first, last = net.block.field.net.layers
    logistic = lambda x: 1 / (1 + np.exp(-np.asarray(x, float)))

    def field(t, y):
        h = logistic(first.weight @ logistic(y) + first.time_weight * t + first.bias)
        return last.weight @ h + last.time_weight * t + last.bias

    x = np.array([0.1, 0.9, 0.4, 0.0])
    end = solve_ivp(field, (0, 1), x, rtol=1e-9, atol=1e-9).y[:, -1]
    head = net.head.layers[-1]
    logits, _ = net(jnp.asarray(x, jnp.float32)[None])
    np.testing.assert_allclose(logits[0], head.weight @ logistic(end) + head.bias, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"orders": (0, 1, 2)}, "orders must be at least 1"),
        ({"orders": (2, 1)}, "orders must be 1 or more numbers that rise, at least 1"),
        ({"orders": (2,)}, "weights must be positive, one for each of the 1 orders"),
        ({"tolerances": (1e-8, 1e-6)}, "tolerances must be 2 or more numbers that fall"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
    with pytest.raises(ValueError, match="shrink must divide 28, got 3"):
        mnist.Config(shrink=3)
