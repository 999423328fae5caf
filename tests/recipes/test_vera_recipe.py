"""The recipe `vera`: its own arithmetic."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import multivariate_normal

from pullback import data
from pullback._promotion import standard_promotion
from pullback.recipes import load
from pullback.recipes.vera import measure
from pullback.recipes.vera.models import (
    RING_ENTROPY,
    Config,
    RingMixture,
    centres,
    few_rows,
    flat,
    ring,
    tables,
)

RECIPE = load("vera")

TINY = RECIPE.presets["smoke"]


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


def test_the_rings_entropy_is_the_mean_of_its_log_density():
    x = ring(20_000, 0)
    parts = [multivariate_normal.pdf(jnp.asarray(x), jnp.asarray(c), 0.04) for c in centres()]
    nll = -np.log(np.mean(np.asarray(parts), axis=0))
    assert abs(nll.mean() - RING_ENTROPY) < 4 * nll.std() / np.sqrt(len(x))


def test_the_tangents_posterior_of_a_linear_generator_is_measured_as_exact():
    """Its weights are all alike; the published proposal's gradient is far too small."""
    config = dataclasses.replace(TINY, draws=400, sizes=(8,))
    found = measure.linear_gradients(config, [0])
    bias, ess = (
        dict(zip(measure.PROPOSALS, np.asarray(found[key])[0, :, 0], strict=True))
        for key in ("bias", "ess")
    )
    assert abs(bias["tangent"]) < 0.15
    assert bias["around z0"] < -0.2
    np.testing.assert_allclose(ess["tangent"], 8, rtol=1e-3)


def test_the_labels_of_a_task_are_few_of_each_class_and_other_for_each_seed():
    config = dataclasses.replace(TINY, labels_per_class=3, images=10_000)
    (one, y), (two, _) = (few_rows(config, flat(data.digits()), seed) for seed in (0, 1))
    assert np.bincount(one.labelled.y).tolist() == [3] * 10
    assert (one.x.shape, one.rows.shape, y.shape) == ((1347, 64), (450, 64), (450,))
    assert (one.x.min(), one.x.max()) == (-1, 1)
    assert not np.array_equal(one.labelled.x, two.labelled.x)
    for row, label in zip(*one.labelled, strict=True):
        [place] = np.flatnonzero((one.x == row).all(axis=1))[:1]
        assert data.digits().train.y[place] == label


def test_the_mixtures_own_normaliser_is_that_of_a_sum_over_a_grid():
    model = RingMixture(key=jax.random.key(0))
    line = jnp.linspace(-6, 6, 241)
    grid = jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)
    mass = jnp.exp(jax.vmap(model.log_prob)(grid)).sum() * 0.05**2
    np.testing.assert_allclose(mass, 1, rtol=1e-3)
    slope = [jax.grad(f)(jnp.ones(2)) for f in (model, model.log_prob)]
    np.testing.assert_allclose(*slope, rtol=1e-5)


def test_tables_are_standardised_and_hold_every_class_on_both_sides():
    found = tables()
    for (train, test), columns, classes in zip(found.values(), (30, 13), (2, 3), strict=True):
        assert train.x.shape[1] == test.x.shape[1] == columns
        np.testing.assert_allclose(train.x.mean(axis=0), 0, atol=1e-9)
        assert set(train.y) == set(test.y) == set(range(classes))
    task, _ = few_rows(TINY, found["wine"], 0)
    assert (task.classes, np.bincount(task.labelled.y).tolist()) == (3, [2, 2, 2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"draws": 1}, "draws must be at least 2, got 1"),
        ({"sizes": (5, 5)}, r"sizes must be 1 or more numbers that rise, at least 1, got \(5, 5\)"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
