"""The recipe `ift-hypergradient`: its own arithmetic."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import data
from pullback._promotion import standard_promotion
from pullback.recipes.ift_hypergradient import Config, measure, models, noisy


def test_a_decay_for_each_weight_is_one_for_all_where_they_are_alike(key):
    with standard_promotion():
        model = models.network(6, 3, key=key)
        rows = jax.random.normal(key, (5, 6)), jnp.arange(5)
        many, one = (
            models.decayed(model, models.log_decays(model, how), rows, key=key)[0]
            for how in models.HOW_MANY
        )
        plain = models.outer(model, None, rows, key=key)[0]
        np.testing.assert_allclose(many, one, rtol=1e-9)
        np.testing.assert_allclose(one - plain, models.decay(model, np.exp(-5)), rtol=1e-5)


def test_parts_of_the_images_share_no_row():
    parts = models.apart(data.digits(), 1, 50, 60)
    assert [len(x) for x, _ in parts] == [50, 60, 1687]
    places = [{row.tobytes() for row in np.c_[x, y]} for x, y in parts]
    assert not places[0] & places[1]
    assert not places[1] & places[2]


@pytest.mark.parametrize(("kind", "share"), [(noisy.MISTAKES[0], 0.2), (noisy.MISTAKES[1], 0.25)])
def test_wrong_labels_are_those_that_differ(kind, share):
    y = np.arange(2000) % 10
    labels, wrong = noisy.wrong_labels(kind, y, 0)
    np.testing.assert_array_equal(labels != y, wrong)
    assert abs(wrong.mean() - share) < 0.04
    if kind == noisy.MISTAKES[1]:
        np.testing.assert_array_equal(labels[wrong], y[wrong] + 1)


def test_the_series_without_its_loop_is_the_series(key):
    matrix = jnp.diag(jnp.array([0.5, 1.0, 2.0]))
    vector, product = jnp.arange(1.0, 4.0), lambda v: matrix @ v
    ours = measure._Unlooped(4, 0.3)(product, vector, key=key).solution
    theirs = measure.Neumann(4, 0.3)(product, vector, key=key).solution
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_the_exact_hypergradient_is_the_slope_of_the_outer_loss(key):
    keys = jax.random.split(key, 4)
    train, held = (
        measure.Ridge(jax.random.normal(a, (9, 3)), jax.random.normal(b, (9,)))
        for a, b in (keys[:2], keys[2:])
    )
    logs = jnp.array([-1.0, 0.0, 0.5])

    def outer(logs):
        return measure.judged(measure._known(train, held, logs)[0], logs, held, key=key)[0]

    np.testing.assert_allclose(
        measure._known(train, held, logs)[1], jax.grad(outer)(logs), rtol=1e-8
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"few": 1}, "few must be at least 2, got 1"),
        ({"rate": 0.0}, "rate must be above 0, got 0.0"),
        ({"noisy_seeds": 0}, "noisy_seeds must be at least 1, got 0"),
        ({"lengths": (3, 1)}, "lengths must be 2 or more numbers that rise"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **wrong)
