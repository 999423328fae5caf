"""The recipe `transient-chaos`: its own arithmetic."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis.signals import weight_scales
from pullback.recipes.transient_chaos import Config, _backward, measure, models


def test_a_slope_is_that_of_the_logarithm():
    metric = np.exp(np.array([[[0.3]], [[-1.2]]]) * np.arange(5) + 2)
    np.testing.assert_allclose(measure.slopes(metric), [[0.3], [-1.2]])


def test_gradients_are_those_of_what_every_layer_gives(key):
    net = eqx.nn.MLP(4, 4, 4, 2, jnp.tanh, key=key)
    h, readout = jr.normal(key, (2, 4))
    found = measure._gradients(net, h, readout)
    assert found.shape == (4,)
    np.testing.assert_allclose(found[-1], readout @ readout, rtol=1e-12)
    whole = lambda h: readout @ net(jnp.tanh(h))
    np.testing.assert_allclose(found[0], jnp.sum(jax.grad(whole)(h) ** 2), rtol=1e-12)
    last = net.layers[-1].weight.T @ readout * (1 - jnp.tanh(_before(net, h)) ** 2)
    np.testing.assert_allclose(found[-2], last @ last, rtol=1e-12)


def _before(net, h):
    for layer in net.layers[:-1]:
        h = layer(jnp.tanh(h))
    return h


def test_the_growth_of_a_gradient_is_a_layers():
    squares = np.array([[[8.0, 4, 2, 1]], [[1.0, 3, 9, 27]]])
    np.testing.assert_allclose(_backward({"gradient": squares}), [2, 1 / 3])


def test_networks_start_at_their_scales():
    config = Config()
    names = models.starts(config)
    assert [*names] == ["critical, 1.40", "ordered, 1", "chaotic, 4", "Equinox's default"]
    keys = jr.split(jr.key(0), 2)
    nets = models._networks(keys, jnp.array([4.0, 0.0]), 0.3, 60, 4)
    arrays, rest = eqx.partition(nets, eqx.is_array)
    for at, (weight, bias) in enumerate(((4.0, 0.3), (3**-0.5, 1 / (3 * 60) ** 0.5))):
        one = weight_scales(eqx.combine(jax.tree.map(lambda leaf, at=at: leaf[at], arrays), rest))
        np.testing.assert_allclose(one.weight[1:-1], weight, rtol=0.06)
        np.testing.assert_allclose(one.bias[1:-1], bias, rtol=0.35)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"turned": (1.3, 1.7)}, "turned must be among weight_scales"),
        ({"width": 1}, "width must be at least 2"),
        ({"turned_layer": 16}, "turned_layer must be at most 15, got 16"),
        ({"weight_scales": (1.3, 1.0)}, "weight_scales must be 2 or more numbers that rise"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ordered": 1.5}, "ordered and chaotic must lie below and above the critical scale"),
        ({"chaotic": 1.2}, "ordered and chaotic must lie below and above the critical scale"),
        ({"ordered": 1.4}, "the critical scale, 1.3956, got 1.4 and 4"),
    ],
)
def test_a_scale_in_the_wrong_phase_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        models.starts(Config(**wrong))
