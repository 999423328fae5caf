"""Likelihoods, against SciPy, sums over all values, and draws."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from pullback.models.vae import Bernoulli, Categorical, DiscretisedLogisticMixture, Gaussian

pytestmark = pytest.mark.usefixtures("promotion")

ALL = [Bernoulli(), Categorical(3), Gaussian(0.3), Gaussian(), DiscretisedLogisticMixture(2, 6)]
NAMES = ["bernoulli", "categorical", "gaussian", "gaussian-learned", "logistic"]


def of_scipy(likelihood, params, x):
    """log p(x) of each entry."""
    params, x = np.asarray(params), np.asarray(x)
    if isinstance(likelihood, Bernoulli):
        return stats.bernoulli.logpmf(x.astype(int), 1 / (1 + np.exp(-params)))
    if isinstance(likelihood, Categorical):
        p = np.exp(params) / np.exp(params).sum(-1, keepdims=True)
        return np.log(np.take_along_axis(p, x.astype(int)[..., None], -1)[..., 0])
    if isinstance(likelihood, Gaussian):
        if likelihood.scale is not None:
            return stats.norm.logpdf(x, params, likelihood.scale)
        return stats.norm.logpdf(x, params[..., 0], np.exp(params[..., 1]))
    weights = np.exp(params[..., 0]) / np.exp(params[..., 0]).sum(-1, keepdims=True)
    mean, scale = params[..., 1], np.exp(params[..., 2])
    # Bins of width 2/5 about -1, -0.6, ..., 1; the outer two are open.
    edge = lambda u: stats.logistic.cdf(u, mean, scale)
    middle = (2 * x / 5 - 1)[..., None]
    upper = np.where(x[..., None] == 5, 1.0, edge(middle + 0.2))
    lower = np.where(x[..., None] == 0, 0.0, edge(middle - 0.2))
    return np.log((weights * (upper - lower)).sum(-1))


@pytest.mark.parametrize("likelihood", ALL, ids=NAMES)
def test_the_density_is_that_of_scipy(likelihood, key):
    params = jr.normal(key, likelihood.params_shape((4, 2)))
    x = likelihood.sample(params, key=jr.key(1))
    assert x.shape == (4, 2)
    likelihood.check(np.asarray(x))
    expected = of_scipy(likelihood, params, x).sum()
    np.testing.assert_allclose(likelihood.log_prob(params, x), expected, rtol=1e-8)


@pytest.mark.parametrize("likelihood", ALL, ids=NAMES)
def test_draws_follow_the_density(likelihood, key):
    # The mean of log p over draws is minus the entropy, and draws have the mean that is stated.
    params = jr.normal(key, likelihood.params_shape((2,)))
    draws = jax.vmap(lambda key: likelihood.sample(params, key=key))(jr.split(jr.key(1), 20_000))
    if isinstance(likelihood, Gaussian):
        std = 0.3 if likelihood.scale else np.exp(np.asarray(params[:, 1]))
        expected = np.broadcast_to(stats.norm.entropy(scale=std), (2,))
    else:
        levels = {Bernoulli: 2, Categorical: 3}.get(type(likelihood), 6)
        log_p = np.stack(
            [of_scipy(likelihood, params, np.full(2, value)) for value in range(levels)]
        )
        np.testing.assert_allclose(np.exp(log_p).sum(0), 1.0, rtol=1e-10)
        expected = -(np.exp(log_p) * log_p).sum(0)
    found = -of_scipy(likelihood, params[None], np.asarray(draws))
    error = found.std(0) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - expected) < 4 * error + 1e-12).all()
    if not isinstance(likelihood, DiscretisedLogisticMixture):
        values = np.asarray(draws, float)
        if isinstance(likelihood, Categorical):
            values = np.eye(3)[values.astype(int)]
        error = values.std(0) / np.sqrt(len(values))
        assert (np.abs(values.mean(0) - likelihood.mean(params)) < 4 * error).all()


def test_the_mass_of_a_bin_far_from_the_logistic_is_finite_and_has_a_slope():
    # x = 3 of 256 levels, and a logistic at the other end with a tiny scale: mass near e^-2000.
    likelihood = DiscretisedLogisticMixture(1)
    params = jnp.array([[[0.0, 1.0, -7.0]]])
    value, slope = jax.value_and_grad(likelihood.log_prob)(params, jnp.array([3.0]))
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    exact = (2 * 3 / 255 - 1 + 1 / 255 - 1) * np.exp(7.0)  # the upper edge dominates
    np.testing.assert_allclose(value, exact, rtol=1e-3)
    # The mean is of grey levels: u = 0 is the middle one.
    np.testing.assert_allclose(likelihood.mean(jnp.zeros((1, 1, 3)))[0], 127.5, rtol=1e-12)


@pytest.mark.parametrize(
    ("likelihood", "x", "message"),
    [
        (Bernoulli(), [0.0, 1.2], r"must lie in \[0, 1\], got values from 0 to 1.2"),
        (Bernoulli(), [0.0, np.nan], "1 examples are not, the first of them number 1"),
        (Categorical(3), [0.0, 3.0], r"must lie in \[0, 2\]"),
        (Categorical(3), [0.0, 1.5], "must be whole numbers, got 1.5"),
        (Gaussian(), [np.inf, 1.0], "must be finite for a Gaussian"),
        (DiscretisedLogisticMixture(2), [0.0, 256.0], r"must lie in \[0, 255\]"),
        (DiscretisedLogisticMixture(2), [0.5, 25.0], "whole numbers, got 0.5"),
    ],
)
def test_data_that_do_not_match_are_refused(likelihood, x, message):
    with pytest.raises(ValueError, match=message):
        likelihood.check(np.asarray(x))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("likelihood", "x"),
    [
        (Bernoulli(), [0.0, 128.0]),
        (Bernoulli(), [-0.1, 1.0]),
        (Categorical(3), [0, 3]),
        (Categorical(3), [-1, 1]),
        (Categorical(3), [0.5, 1.0]),
        (DiscretisedLogisticMixture(2, 6), [6, 0]),
        (DiscretisedLogisticMixture(2, 6), [-1.0, 0.0]),
    ],
)
def test_outside_of_the_support_the_density_is_zero_compiled_too(likelihood, x, compiled):
    score = jax.jit(likelihood.log_prob) if compiled else likelihood.log_prob
    params = jnp.ones(likelihood.params_shape((2,)))
    assert score(params, jnp.asarray(x)) == -np.inf
    assert np.isfinite(score(params, jnp.asarray([0, 1], jnp.asarray(x).dtype)))
    if not np.issubdtype(np.asarray(x).dtype, np.integer):
        assert np.isnan(score(params, jnp.asarray([np.nan, 0.0]))) or isinstance(
            likelihood, Categorical
        )


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="`levels` must be 2 or more"):
        Categorical(1)
    with pytest.raises(ValueError, match="`scale` must be positive"):
        Gaussian(0.0)
    with pytest.raises(ValueError, match="`components` must be 1 or more"):
        DiscretisedLogisticMixture(0)
