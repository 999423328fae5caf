"""Noise in one layer's weights at a time."""

import inspect

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.analysis.signals import layer_noise_sensitivity


def test_one_layer_at_a_time_gets_noise_of_its_own_scale(key):
    model = eqx.nn.MLP(30, 4, 50, 1, key=key)
    first, second = (np.asarray(layer.weight) for layer in model.layers)

    def metric(model):
        a, b = model.layers
        # What the noise added to each, in squares; nothing elsewhere.
        biases = jnp.sum((a.bias - 7) ** 2) + jnp.sum((b.bias - 7) ** 2)
        return (
            jnp.mean((a.weight - first) ** 2) + 1000 * jnp.mean((b.weight - second) ** 2) + biases
        )

    biases = sum(float(jnp.sum((layer.bias - 7) ** 2)) for layer in model.layers)
    found = layer_noise_sensitivity(model, metric, scale=0.3, repeats=40, key=key)
    assert found.names == (".layers[0].weight", ".layers[1].weight")
    assert found.clean == pytest.approx(biases, rel=1e-12)
    assert found.noisy.shape == (2, 40)
    want = 0.3**2 * np.array([first.var(), 1000 * second.var()])
    entries = 40 * np.array([first.size, second.size])
    # A mean of squares of normals: its standard error is root 2 over the root of their number.
    np.testing.assert_array_less(np.abs(found.change / want - 1), 4 * np.sqrt(2 / entries))
    assert len(np.unique(found.noisy)) == 80
    again = layer_noise_sensitivity(model, metric, scale=0.3, repeats=40, key=key)
    np.testing.assert_array_equal(again.noisy, found.noisy)


def test_weights_that_are_all_alike_get_none(key):
    model = {"a": jnp.full((2, 3), 0.5), "b": np.eye(3), "c": jnp.ones(4), "f": jnp.tanh}
    found = layer_noise_sensitivity(
        model, lambda m: m["a"].sum() + m["b"].sum(), repeats=2, key=key
    )
    assert found.names == ("['a']", "['b']")
    assert found.noisy[0].tolist() == [6.0, 6.0]
    assert np.all(found.noisy[1] != 6.0)


@pytest.mark.parametrize(
    ("model", "metric", "settings", "message"),
    [
        ({"a": jnp.ones(3)}, jnp.sum, {}, "`model` must have a floating array of two axes"),
        (jnp.eye(2), jnp.sum, {"scale": 0.0}, "`scale` must be above 0, got 0.0"),
        (jnp.eye(2), jnp.sum, {"repeats": 0}, "`repeats` must be 1 or more, got 0"),
        (jnp.eye(2), lambda w: w[0], {}, r"`metric` must give one number, got the shape \(2,\)"),
        (jnp.eye(2), lambda w: jnp.log(-jnp.sum(w)), {}, "`metric` must be finite"),
    ],
)
def test_wrong_arguments(model, metric, settings, message, key):
    with pytest.raises(ValueError, match=message):
        layer_noise_sensitivity(model, metric, key=key, **settings)


@pytest.mark.parametrize(
    ("metric", "scale", "message"),
    [(None, 0.5, "`metric` must be a function"), (jnp.sum, "a", "`scale` must be a number")],
)
def test_arguments_of_another_kind(metric, scale, message, key):
    with pytest.raises(TypeError, match=message):
        inspect.unwrap(layer_noise_sensitivity)(jnp.eye(2), metric, scale=scale, key=key)
