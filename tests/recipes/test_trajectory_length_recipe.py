"""The recipe `trajectory-length`: its networks, and what is trained of them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.data import Labelled, Split
from pullback.nn import TrajectoryPenalty, gaussian_init
from pullback.recipes.trajectory_length import PRESETS, Config, measure, models
from pullback.runs import Context

SMOKE = PRESETS["smoke"]


def test_theory_is_that_of_layers_behind_the_first():
    # Of ReLU it is known at every layer; of hard tanh, at a large scale.
    found = measure.stretched(8, 3, 1, 50, [0])
    np.testing.assert_allclose(found["ReLU, 2"]["theory"], 2**0.5, rtol=1e-6)
    assert [row["growth"].shape for row in found.values()] == [(1, 2)] * 5
    for scale in (50.0, 200.0):
        large = (2 / np.pi) ** 0.25 * scale**0.5
        np.testing.assert_allclose(measure.stretch(scale), large, rtol=1 / scale)


def test_the_readout_reaches_twice_as_many_labelings_as_there_are_inputs():
    assert measure.labelings(12, 3, 2.0, 6, 2000, [0])[0, -1] == 12


def test_only_the_layer_that_is_trained_moves(x32, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    part = Labelled(rng.normal(size=(64, 6)).astype(np.float32), rng.integers(0, 10, 64))
    config = dataclasses.replace(SMOKE, trained=(1, 2), steps=2)
    kept = []
    monkeypatch.setattr(models, "accuracy", lambda net, rows: kept.append(net) or 0.0)
    models.one_layer(config, Context(tmp_path), Split(part, part), 2.0, [3])
    start = models.networks(config, 6, 3, jax.nn.hard_tanh, 2.0, [3])
    for place, net in zip((1, 2), kept[::2], strict=True):
        same = [
            bool(jnp.all(a.weight == b.weight[0]))
            for a, b in zip(net.layers, start.layers, strict=True)
        ]
        assert same == [at != place for at in range(4)]


def test_the_penalised_network_by_hand(key):
    net = gaussian_init(
        eqx.nn.MLP(3, 10, 5, 2, jnp.tanh, use_bias=False, key=key), weight_scale=1.5, key=key
    )
    model = models.Penalised(net, (TrajectoryPenalty(0.5), TrajectoryPenalty(2.0)))
    x = jr.normal(key, (4, 3))
    logits, penalty = model(x)
    length = lambda rows: np.linalg.norm(np.diff(rows, axis=0), axis=1).sum()
    first = np.tanh(x @ net.layers[0].weight.T)
    second = np.tanh(0.5 * first @ net.layers[1].weight.T)
    np.testing.assert_allclose(logits, 2 * second @ net.layers[2].weight.T, rtol=1e-12)
    want = 0.5 * length(first) / length(x) + 2 * length(second) / length(0.5 * first)
    np.testing.assert_allclose(penalty, want, rtol=1e-12)
    batch = Labelled(x, jnp.zeros(4, int))
    plain = models.PenalisedLoss(0.0)(model, batch, key=key)[0]
    value, metrics = models.PenalisedLoss(0.3)(model, batch, key=key)
    np.testing.assert_allclose(value - plain, 0.3 * penalty, rtol=1e-12)
    np.testing.assert_allclose(metrics["penalty"], penalty, rtol=1e-14)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trained": (1, 8)}, "trained must be below layers, 8, got"),
        ({"trained": (3, 1)}, "trained must be 2 or more numbers that rise, at least 1"),
        ({"chaotic": 2.0}, "chaotic must be above variance, got 2.0"),
        ({"noisy_layers": 3}, "noisy_layers must be at least 4, got 3"),
        ({"images": 10}, "images must be at least 128, got 10"),
        ({"random_layers": 2}, "random_layers must be at least 3, got 2"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)
