"""The recipe `ali`: its own arithmetic."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from pullback.data import Labelled
from pullback.recipes._kit.players import mlp
from pullback.recipes.ali import measure, models


def images(count=60):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 17, (count, 2, 2)) / 16
    return Labelled(grey.astype(np.float32), np.arange(count, dtype=np.int32) % 3)


def test_as_many_labels_of_each_class_are_told_and_they_are_right():
    data = images()
    labels = models.few_labels(data, 12, seed=4)
    known = labels >= 0
    np.testing.assert_array_equal(np.bincount(labels[known]), [4, 4, 4])
    np.testing.assert_array_equal(labels[known], data.y[known])
    assert not np.array_equal(labels, models.few_labels(data, 12, seed=5))


def test_a_fifth_of_a_batch_has_a_label_at_least_and_noise_stays_within_its_level():
    data = images()
    labels = models.few_labels(data, 6, seed=0)
    with jax.numpy_dtype_promotion("standard"):
        x, y = models.batches(data, labels, 50, levels=16)(jr.key(0))
    assert x.shape == (50, 4)
    assert np.all(np.asarray(y[:10]) >= 0)
    levels = np.floor(np.asarray(x) * 17) / 16
    rows = data.x.reshape(60, 4)
    for image, label in zip(levels, np.asarray(y), strict=True):
        at = np.flatnonzero(np.all(np.isclose(rows, image), axis=1))
        assert label in labels[at]


def test_hidden_layers_have_the_size_that_normalisation_says():
    net = mlp(3, 2, 50, 1, jr.key(0), normalise=True)
    linear, norm, leaky, last = net.layers
    hidden = norm(linear(jnp.ones(3)))
    np.testing.assert_allclose(jnp.mean(hidden**2), 1, rtol=1e-3)
    np.testing.assert_allclose(net(jnp.ones(3)), last(leaky(hidden)))
    assert np.all(linear.bias == 0)


def test_the_best_logit_of_two_lines_is_among_the_quadratic_ones():
    told = models.quadratic()
    assert told(jnp.ones(1), jnp.ones(1)) == 0
    head = told.head.layers[1]
    assert head.weight.shape == (1, 6)
    np.testing.assert_array_equal(told.head.layers[0](jnp.asarray([2.0, 3.0])), [1, 2, 3, 4, 6, 9])


def test_points_lie_at_their_modes(promotion):
    x = models.nine_modes(2000, jr.key(0))
    found = measure.mode_coverage(x, models.CENTRES, radius=4 * models.SPREAD)
    assert found.covered == 9
    assert found.share > 0.99
