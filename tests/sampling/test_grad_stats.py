"""Moments of a stochastic gradient, against a loop over keys and a closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from pullback.sampling import grad_stats


class Model(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    name: str = "not a parameter"


def loss(model, *, key):
    noise = jr.normal(key, (3,))
    return jnp.sum(jnp.sin(model.weight * noise)) + model.bias * noise[0] ** 2


MODEL = Model(jnp.array([0.3, -1.0, 2.0]), jnp.asarray(0.5))


@pytest.mark.parametrize("batch_size", [None, 1, 4, 11, 50])
def test_moments_are_those_of_a_loop_over_keys(batch_size, key):
    keys = jr.split(key, 11)
    values, grads = zip(*(eqx.filter_value_and_grad(loss)(MODEL, key=k) for k in keys), strict=True)
    found = grad_stats(loss, MODEL, keys, batch_size=batch_size)
    assert float(found.value) == pytest.approx(np.mean(values))
    for name in ("weight", "bias"):
        rows = np.stack([getattr(g, name) for g in grads])
        np.testing.assert_allclose(getattr(found.mean, name), rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(getattr(found.std, name), rows.std(axis=0, ddof=1), rtol=1e-12)
    assert found.std.name is None


# The gradient at each of eight keys. The last three entries have no noise, no mean, and neither.
GRADS = np.concatenate(
    [
        np.random.default_rng(0).normal(2, 3, size=(8, 2)),
        np.stack([np.full(8, -3.0), (-1.0) ** np.arange(8), np.zeros(8)], axis=1),
    ],
    axis=1,
)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_variance_error_and_signal_to_noise_of_a_known_gradient(batch_size):
    def loss(model, *, key):
        row = jnp.asarray(GRADS)[jr.key_data(key)[1]]
        return jnp.sum(model.weight * row[:4]) + model.bias * row[4]

    # The second word of the data of such a key is its number.
    keys = jax.vmap(jr.key)(jnp.arange(8))
    found = grad_stats(loss, Model(jnp.ones(4), jnp.asarray(1.0)), keys, batch_size=batch_size)
    mean, variance = GRADS.mean(axis=0), GRADS.var(axis=0, ddof=1)
    expected = {
        "variance": variance,
        "standard_error": stats.sem(GRADS, axis=0),
        "snr": [*abs(mean[:2]) / np.sqrt(variance[:2]), np.inf, 0.0, 0.0],
    }
    for name, want in expected.items():
        tree = getattr(found, name)
        both = np.append(tree.weight, tree.bias)
        np.testing.assert_allclose(both, want, rtol=1e-12, atol=1e-15, err_msg=name)
        assert tree.name is None


@pytest.mark.parametrize("batch_size", [None, 50])
def test_a_small_spread_about_a_large_mean_survives_float32(batch_size, key):
    # The gradient is 10,000 + N(0, 1): the square of its mean has no room for the 1.
    noisy = lambda x, *, key: x * (jnp.float32(1e4) + jr.normal(key, (), jnp.float32))
    keys = jr.split(key, 1000)
    found = grad_stats(noisy, jnp.float32(2.0), keys, batch_size=batch_size)
    # 4 standard errors of a standard deviation, 1 / sqrt(2 n).
    assert float(found.std) == pytest.approx(1, abs=4 / np.sqrt(2000))
    assert found.std.dtype == jnp.float32


def test_too_few_keys_are_refused(key):
    with pytest.raises(ValueError, match=r"`keys` must be at least two keys, got 1"):
        grad_stats(loss, MODEL, jr.split(key, 1))
    with pytest.raises(ValueError, match="`batch_size` must be 1 or more, got 0"):
        grad_stats(loss, MODEL, jr.split(key, 3), batch_size=0)
