"""Auxiliary priors against multivariate normals of NumPy, and against draws of a known process."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import multivariate_normal

from pullback.models.vae import (
    AggregateNormal,
    AR1Prior,
    AutoregressivePrior,
    aggregate_normal,
    fit_auxiliary_prior,
)
from pullback.nn import AbstractSequenceNet, CausalConvNet, RecurrentNet

N, SHAPE = 40, (3, 2)


def normal(mean, covariance: Any):
    return multivariate_normal(mean, covariance)


def posterior(key):
    mean, mixing, scale = jr.split(key, 3)
    mean = jr.normal(mean, (N, 6)) @ jr.normal(mixing, (6, 6))
    scale = jnp.exp(jr.normal(scale, (N, 6)))
    return dist.Normal(mean.reshape(N, *SHAPE), scale.reshape(N, *SHAPE))


def test_the_normal_has_the_moments_of_the_aggregate_posterior(key, promotion):
    q = posterior(key)
    prior = aggregate_normal(q)
    mean, scale = (np.asarray(each).reshape(N, 6) for each in (q.loc, q.scale))
    covariance = np.cov(mean.T, ddof=0) + np.diag(np.mean(scale**2, axis=0))
    root = np.linalg.inv(np.asarray(prior.whiten))
    np.testing.assert_allclose(root @ root.T, covariance, rtol=1e-10, atol=1e-12)
    exact = normal(mean.mean(0), covariance)
    z = jr.normal(key, (5, *SHAPE))
    np.testing.assert_allclose(prior.log_prob(z), exact.logpdf(np.asarray(z).reshape(5, 6)))
    assert prior.log_prob(z[0]).shape == ()

    # The identity of the rate under it, and the divergences one by one.
    rates = np.asarray(prior.kl_from(q))
    log_det = np.linalg.slogdet(covariance)[1]
    identity = (log_det - np.mean(np.sum(np.log(scale**2), axis=1))) / 2
    assert rates.mean() == pytest.approx(identity, rel=1e-12)
    inside = np.trace(np.linalg.solve(covariance, np.diag(scale[0] ** 2)))
    apart = mean[0] - mean.mean(0)
    inside += apart @ np.linalg.solve(covariance, apart)
    dense = (inside - 6 + log_det) / 2 - np.sum(np.log(scale[0]))
    assert rates[0] == pytest.approx(dense, rel=1e-12)
    assert float(prior.kl_from(dist.Normal(q.loc[0], q.scale[0]).to_event(2))) == rates[0]


def test_no_other_normal_has_a_lower_rate(key, promotion):
    q = posterior(key)
    best = aggregate_normal(q)
    least = float(jnp.mean(best.kl_from(q)))
    assert least <= float(jnp.mean(AR1Prior((0.9, 0.3), SHAPE[0]).kl_from(q)))
    for number in range(5):
        noise = 0.05 * jr.normal(jr.fold_in(key, number), (6, 6))
        other = AggregateNormal(best.mean, best.whiten + jnp.tril(noise) * best.whiten)
        assert float(jnp.mean(other.kl_from(q))) > least


def test_draws_of_the_normal_have_its_moments(key, promotion):
    prior, count = aggregate_normal(posterior(key)), 40_000
    z = np.asarray(prior.sample(key, (count // 2, 2))).reshape(count, 6)
    assert prior.sample(key).shape == SHAPE
    whitened = (z - np.asarray(prior.mean).ravel()) @ np.asarray(prior.whiten).T
    assert np.all(np.abs(whitened.mean(0)) < 4 / np.sqrt(count))
    error = np.sqrt((1 + np.eye(6)) / count)
    np.testing.assert_array_less(np.abs(whitened.T @ whitened / count - np.eye(6)), 4 * error)


class Follow(AbstractSequenceNet):
    """The conditionals of a known autoregression: each channel follows its own last row."""

    in_size: int = 2
    out_size: int = 4

    def __call__(self, x):
        return jnp.concatenate([ALPHA[None] * x, jnp.log(SCALE)[None] + 0 * x], axis=1)


ALPHA = jnp.array([0.9, -0.5])
SCALE = jnp.array([0.4, 0.8])


def test_density_and_draws_are_those_of_the_product_of_the_conditionals(key):
    steps = 4
    prior = AutoregressivePrior(Follow(), steps=steps)
    # The same process by its innovations: z = A e, a normal with covariance A D A'.
    covariances = []
    for alpha, scale in zip(np.asarray(ALPHA), np.asarray(SCALE), strict=True):
        lags = np.subtract.outer(np.arange(steps), np.arange(steps))
        root = np.where(lags >= 0, alpha ** np.abs(lags), 0) * scale
        covariances.append(root @ root.T)
    z = jr.normal(key, (3, steps, 2))
    expected = sum(
        normal(np.zeros(steps), covariances[k]).logpdf(np.asarray(z)[..., k]) for k in range(2)
    )
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-10)

    count = 40_000
    draws = np.asarray(jax.jit(lambda key: prior.sample(key, (count,)))(key))
    for k in range(2):
        exact = covariances[k]
        spread = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
        error = np.sqrt((spread**2 + exact**2) / count)
        found = draws[..., k].T @ draws[..., k] / count
        np.testing.assert_array_less(np.abs(found - exact), 4 * error)


@pytest.mark.slow  # It trains.
def test_a_fitted_prior_finds_the_entropy_of_the_aggregate_posterior(key, promotion):
    steps, alpha = 6, 0.9
    source, params, start = jr.split(key, 3)
    # Means of a known process; with the posteriors' noise the aggregate is a known normal.
    mean = AR1Prior((alpha,), steps).sample(source, (4000,))
    q = dist.Normal(mean, jnp.full(mean.shape, 0.3))
    covariance = alpha ** np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    entropy = normal(np.zeros(steps), covariance + 0.09 * np.eye(steps)).entropy()
    net = CausalConvNet(1, 2, 16, dilations=(1, 2, 2), key=start)
    prior, _ = fit_auxiliary_prior(
        AutoregressivePrior(net, steps=steps), q, steps=1500, progress=False, key=params
    )
    held_out = AR1Prior((alpha,), steps).sample(jr.fold_in(source, 1), (20_000,))
    z = held_out + 0.3 * jr.normal(params, held_out.shape)
    values = -np.asarray(eqx.filter_jit(prior.log_prob)(z))
    error = 4 * values.std() / np.sqrt(len(values))
    assert entropy - error < values.mean() < entropy + 0.1 + error


def test_what_does_not_fit_is_refused(key, promotion):
    net = RecurrentNet(2, 3, width=2, key=key)
    ar = AutoregressivePrior(RecurrentNet(2, 4, width=2, key=key), steps=3)
    full = dist.MultivariateNormal(jnp.zeros(4), jnp.eye(4))
    fitted = aggregate_normal(posterior(key))
    for call, message in (
        (lambda: AutoregressivePrior(net, steps=3), "`net` must have rows twice as long"),
        (lambda: AutoregressivePrior(ar.net, steps=0), "`steps` must be 1 or more, got 0"),
        (lambda: ar.log_prob(jnp.zeros((2, 2))), r"`z` must end in \(3, 2\)"),
        (lambda: fitted.log_prob(jnp.zeros((2, 3))), r"`z` must end in \(3, 2\)"),
        (lambda: aggregate_normal(full), "the posterior must be a Normal of independent entries"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
