"""What a measurement would tell of the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.analysis import information_gain


def test_it_is_the_fall_of_the_posteriors_entropy():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    covariance, noise = root @ root.T, 0.7
    rows = rng.normal(size=(5, 3))
    precision = np.linalg.inv(covariance)
    entropy = lambda precision: -0.5 * np.linalg.slogdet(precision)[1]
    want = [entropy(precision) - entropy(precision + np.outer(x, x) / noise) for x in rows]
    variance = np.einsum("ni,ij,nj->n", rows, covariance, rows)
    for function in (information_gain, jax.jit(information_gain)):
        np.testing.assert_allclose(function(variance, noise), want, rtol=1e-12)
        np.testing.assert_allclose(function(variance, np.full(5, noise)), want, rtol=1e-12)


def test_small_gains_keep_their_digits():
    assert float(information_gain(jnp.float32(1e-12), 1.0)) == pytest.approx(5e-13)
    assert information_gain(jnp.zeros(0), 1.0).shape == (0,)


@pytest.mark.parametrize(
    ("variance", "noise", "match"),
    [
        ([-1.0], 1.0, "0 or more"),
        ([1.0], 0.0, "above 0"),
        ([np.nan], 1.0, "1 rows"),
        ([np.inf], 1.0, "finite"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "one for each"),
    ],
)
def test_what_is_no_variance_is_refused(variance, noise, match):
    with pytest.raises(ValueError, match=match):
        information_gain(np.asarray(variance), np.asarray(noise))


def test_compiled_they_are_nan():
    found = jax.jit(information_gain)(jnp.asarray([1.0, -1.0]), 1.0)
    assert np.isnan(found).tolist() == [False, True]
