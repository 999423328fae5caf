"""Activation patterns and dichotomies, against geometry and enumeration."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.analysis.signals import (
    activation_patterns,
    dichotomies,
    layer_noise_sensitivity,
    line,
    transitions,
)
from pullback.nn import gaussian_init


@pytest.mark.parametrize("units", [1, 2, 3, 6])
def test_lines_in_general_position_divide_the_plane(units):
    rng = np.random.default_rng(units)
    w, b = rng.normal(size=(units, 2)), rng.normal(size=units)
    # Around every corner, and far out.
    angles = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = [1e6 * circle]
    for i in range(units):
        for j in range(i):
            points.append(np.linalg.solve(w[[i, j]], -b[[i, j]]) + 1e-9 * circle[::100])
    found = activation_patterns(lambda x: (jax.nn.relu(w @ x + b),), np.concatenate(points))
    assert len(found.patterns) == 1 + units + units * (units - 1) // 2
    assert found.patterns.dtype == np.uint8


def relu_net(key, dim=2, width=6, depth=3):
    model = eqx.nn.MLP(dim, 1, width, depth, key=key)
    return gaussian_init(model, weight_scale=1.5, bias_scale=0.5, key=key)


def test_within_a_pattern_a_network_is_one_linear_map(key):
    model = relu_net(key)
    x = jr.uniform(key, (400, 2), minval=-3, maxval=3)
    found = activation_patterns(model, x, batch_size=150)
    slopes = np.asarray(jax.vmap(jax.jacobian(model))(x)).reshape(400, 2)
    assert 10 < len(found.patterns) < 300
    first = [int(np.argmax(found.index == i)) for i in range(len(found.patterns))]
    np.testing.assert_allclose(slopes, slopes[first][found.index], rtol=1e-10, atol=1e-12)
    assert len(np.unique(slopes.round(9), axis=0)) > 0.7 * len(found.patterns)
    # A pattern is one entry for each hidden unit, layer after layer.
    assert found.patterns.shape[1] == 18
    hidden = np.asarray(x) @ np.asarray(model.layers[0].weight).T + np.asarray(model.layers[0].bias)
    np.testing.assert_array_equal(found.patterns[found.index][:, :6], hidden > 0)


def test_along_a_line_there_is_a_pattern_more_than_transitions(key):
    model = relu_net(key)
    path = line(jnp.array([-3.0, -2.0]), jnp.array([2.5, 3.5]))
    x = jax.vmap(path)(jnp.linspace(0, 1, 20_001))
    count = int(transitions(model, path, num=20_001).sum())
    assert count > 5
    assert len(activation_patterns(model, x).patterns) == 1 + count


def test_three_pieces_of_a_hard_tanh_and_repeated_inputs():
    x = jnp.array([-2.0, -1.0, -0.99, 0.0, 1.0, 3.0, 3.0])
    for unit in (lambda x: x, jax.nn.hard_tanh):
        found = activation_patterns(lambda x, unit=unit: (unit(x),), x, thresholds=(-1, 1))
        assert found.patterns[found.index][:, 0].tolist() == [0, 0, 1, 1, 2, 2, 2]
    one = activation_patterns(lambda x: (x,), x[:1])
    assert one.patterns.tolist() == [[0]]
    assert one.index.tolist() == [0]


def test_patterns_refuse_what_they_cannot_tell():
    layers = lambda x: (x, jnp.log(x))
    with pytest.raises(ValueError, match="layer 1 of `layers`"):
        activation_patterns(layers, jnp.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="`x` must hold at least one"):
        activation_patterns(layers, jnp.zeros((0, 2)))
    with pytest.raises(ValueError, match="`thresholds` must be"):
        activation_patterns(layers, jnp.ones(2), thresholds=())


def sweep(depth, key, width=10, scale=3.0):
    """A network of no bias and odd units, with inputs."""
    model = eqx.nn.MLP(4, 1, width, depth, jax.nn.hard_tanh, use_bias=False, key=key)
    return gaussian_init(model, weight_scale=scale, key=key), jr.normal(key, (6, 4))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_dichotomies_by_enumeration(place, key):
    model, x = sweep(2, key)
    where = lambda model: model.layers[place].weight
    weights = [np.asarray(layer.weight) for layer in model.layers]
    other = np.asarray(jr.normal(jr.fold_in(key, 1), weights[place].shape))
    found, num = set(), 300
    for t in 2 * np.pi * np.arange(num) / num:
        turned = list(weights)
        turned[place] = np.cos(t) * weights[place] + np.sin(t) * other
        h = np.asarray(x)
        for weight in turned[:-1]:
            h = np.clip(h @ weight.T, -1, 1)
        found.add(tuple((h @ turned[-1].T)[:, 0] > 0))
    count = dichotomies(model, where, jnp.asarray(other), x, num=num)
    assert count == len(found)
    assert dichotomies(model, where, jnp.asarray(other), x, num=num, batch_size=None) == count
    # Half a turn further every sign is the other one.
    assert count % 2 == 0
    assert 2 < count <= 2**6


@pytest.mark.parametrize("count", [1, 5, 30])
def test_a_line_through_zero_labels_points_of_the_plane_in_twice_as_many_ways(count, key):
    model = eqx.nn.Linear(2, "scalar", use_bias=False, key=key)
    where = lambda model: model.weight
    other = model.weight @ jnp.array([[0.0, 1.0], [-1.0, 0.0]])
    x = jr.normal(key, (count, 2))
    assert dichotomies(model, where, other, x, num=20_000) == 2 * count
    # A repeated input is labelled as the other one is.
    assert dichotomies(model, where, other, jnp.concatenate([x, x[:1]]), num=20_000) == 2 * count


def test_more_layers_behind_the_swept_one_reach_more_labelings(key):
    model, _ = sweep(5, key, width=30)
    x = jr.normal(key, (12, 4))
    counts = []
    for place in (1, 5):
        where = lambda model, place=place: model.layers[place].weight
        other = jr.normal(jr.fold_in(key, place), where(model).shape)
        counts.append(dichotomies(model, where, other, x, num=512))
    assert counts[1] == 24  # of the readout the output is linear: each input changes twice
    assert counts[0] > 2 * 24


def test_dichotomies_refuse_what_is_no_label(key):
    model, x = sweep(1, key)
    where = lambda model: model.layers[0].weight
    other = jnp.ones((10, 4))
    with pytest.raises(ValueError, match=r"`other` must have the shape .* \(10, 4\), got \(4,\)"):
        dichotomies(model, where, jnp.ones(4), x)
    with pytest.raises(ValueError, match="`num` must be 1 or more, got 0"):
        dichotomies(model, where, other, x, num=0)
    wide = eqx.nn.MLP(4, 2, 10, 1, use_bias=False, key=key)
    with pytest.raises(ValueError, match=r"must give one number of one input, got the shape \(2,"):
        dichotomies(wide, where, other, x)
    with pytest.raises(ValueError, match="not finite"):
        dichotomies(model, where, other, x.at[0, 0].set(np.nan))


def test_what_is_counted_on_the_host_is_not_compiled(key):
    model, x = sweep(1, key)
    where = lambda model: model.layers[0].weight
    calls = {
        "activation_patterns": lambda x: activation_patterns(lambda x: (x,), x).index,
        "dichotomies": lambda x: dichotomies(model, where, where(model), x),
        "layer_noise_sensitivity": lambda x: layer_noise_sensitivity(x, jnp.sum, key=key).clean,
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"`{name}` answers with numbers on the host"):
            jax.jit(call)(x)
