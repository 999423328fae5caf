"""The recipe `mi-bounds`: its pairs."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import norm

from pullback.recipes import mi_bounds
from pullback.recipes.mi_bounds import measure

TINY = mi_bounds.Config(
    seeds=2, informations=(0.5, 2.0), dim=3, batch_size=16, width=8, embedding=4, baseline_width=4,
    steps=40, learning_rate=5e-3, batches=30, view_steps=5,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def small():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def test_pairs_have_the_information_that_was_asked_for():
    config = mi_bounds.Config(dim=2, batch_size=5000)
    information = jnp.asarray(1.5)
    x, y = measure._pairs(config, information, jr.key(0))
    rho = math.sqrt(1 - math.exp(-1.5))
    # Four standard errors of a correlation, (1 - rho^2) / sqrt(n).
    for column in range(2):
        found = np.corrcoef(x[:, column], y[:, column])[0, 1]
        assert abs(found - rho) < 4 * (1 - rho**2) / math.sqrt(5000)
    x, y = x[:4], y[:4]
    found = measure._log_ratio(config, information, x, y)
    expected = norm.logpdf(
        np.asarray(y)[:, None], rho * np.asarray(x)[None], math.sqrt(1 - rho**2)
    ).sum(-1) - norm.logpdf(np.asarray(y)).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_cubes_are_of_the_same_pairs_and_halves_are_left_and_right():
    config, information = mi_bounds.Config(dim=2, batch_size=4), jnp.asarray(1.5)
    x, y = measure._pairs(config, information, jr.key(0))
    cubed = measure._pairs(config, information, jr.key(0), measure.CUBIC)
    np.testing.assert_array_equal(cubed[0], x)
    np.testing.assert_allclose(cubed[1], np.asarray(y) ** 3, rtol=1e-6)
    left, right = measure._halves(jnp.arange(16.0).reshape(1, 16))
    np.testing.assert_array_equal(left[0], [0, 1, 4, 5, 8, 9, 12, 13])
    np.testing.assert_array_equal(right[0], [2, 3, 6, 7, 10, 11, 14, 15])


def test_a_critic_is_carried_from_one_information_to_the_next():
    # Trained at 0.5 nats alone, or at 0.5 and then at 2: the same until there.
    short = dataclasses.replace(TINY, informations=(0.5, 2.0))
    other = dataclasses.replace(TINY, informations=(0.5, 1.0))
    first, second = (measure.train(c, "NWJ", measure.GAUSSIAN, (3,)) for c in (short, other))
    assert first.shape == (2, 1, 30)
    np.testing.assert_allclose(first[0], second[0], rtol=1e-5)
    fresh = measure.train(dataclasses.replace(TINY, steps=1), "NWJ", measure.GAUSSIAN, (3,))
    assert first[0].mean() > fresh[0].mean()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"informations": (2.0, 1.0)}, "informations must be 2 or more numbers that rise, above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        mi_bounds.Config(**wrong)
