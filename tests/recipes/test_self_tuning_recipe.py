"""The recipe `self-tuning`: its own arithmetic."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.bilevel import Bounded, Integer
from pullback.data import Labelled, Split
from pullback.recipes.self_tuning import Config, models


def test_dropout_keeps_the_mean_and_blanks_the_share_that_it_should(key):
    keys, rate = jr.split(key, 4000), jnp.asarray(0.3)
    found = jax.jit(jax.vmap(lambda k: models.dropped(jnp.ones(5), rate, k)))(keys)
    share = float(jnp.mean((found == 0).astype(float)))
    error = 4 * (0.3 * 0.7 / found.size) ** 0.5
    assert share == pytest.approx(0.3, abs=error)
    assert float(jnp.mean(found)) == pytest.approx(1.0, abs=error / 0.7)


@pytest.mark.parametrize("side", [0, 1, 3, 6])
def test_a_square_of_the_side_is_cut_out_anywhere_and_whole(side, key):
    cut = jax.vmap(lambda k: models.cut_out(jnp.ones(36), jnp.asarray(side), k))
    found = np.asarray(jax.jit(cut)(jr.split(key, 200))).reshape(-1, 6, 6)
    np.testing.assert_array_equal(np.sum(found == 0, axis=(1, 2)), side**2)
    corners = {tuple(np.argwhere(one == 0)[0]) for one in found if side}
    assert len(corners) == ((7 - side) ** 2 if side else 0)


def test_the_losses_and_the_network_by_hand(key):
    net = models.Net(4, 3, 2, key=key)
    hyper = {"rates": Bounded(jnp.full(3, 1e-9), 0.0, 0.95), "cutout": Integer(0, 0, 2)}
    x = jr.normal(key, (5, 4))
    y = jnp.asarray([0, 1, 1, 0, 1])
    h = x
    for place, layer in enumerate(net.layers):
        h = h @ layer.weight.T + jnp.broadcast_to(layer.bias, (5, len(layer.bias)))
        h = jax.nn.relu(h) if place < 2 else h
    want = -jnp.mean(jax.nn.log_softmax(h)[jnp.arange(5), y])
    for loss in (models.inner, models.outer):
        value, metrics = jax.jit(lambda x, loss=loss: loss(net, hyper, Labelled(x, y), key=key))(x)
        assert float(value) == pytest.approx(float(want), rel=1e-6)
        assert float(metrics["accuracy"]) == float(jnp.mean((jnp.argmax(h, 1) == y).astype(float)))


def test_the_three_parts_share_no_image():
    images = np.arange(40.0, dtype=np.float32).reshape(40, 1, 1)
    data = Split(Labelled(images, np.zeros(40, np.int32)), Labelled(-images, np.ones(40, np.int32)))
    config = dataclasses.replace(Config(), train=10, held_out=20)
    train, held_out, test = models.parts(config, data, 3)
    assert len({*train.x.ravel(), *held_out.x.ravel()}) == 30
    np.testing.assert_array_equal(test.x, -images.reshape(40, 1))
    with pytest.raises(ValueError, match="at most 40 in all, got 50"):
        models.parts(dataclasses.replace(config, train=30), data, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"constants": (0.2, 0.1)}, "constants must be 2 or more numbers that rise"),
        ({"constants": (0.2, 0.96)}, "below 0.95"),
        ({"start": 0.01}, "start and other must be two of constants, got 0.01 and 0.01"),
        ({"other": 0.4}, "start and other must be two of constants, got 0.5 and 0.4"),
        ({"cutout": 7}, "cutout must be at most 6, got 7"),
        ({"evaluations": 7}, "evaluations must divide steps, got 7"),
        ({"seeds": 0}, "seeds must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)
