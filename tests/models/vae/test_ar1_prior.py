"""The autoregressive prior against multivariate normals written in NumPy, and a minimiser's."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from pullback.models.vae import AR1Prior
from pullback.sampling import log_prob


def covariance(alpha, n):
    return alpha ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))


def precision(alpha, n):
    """As the spec of the process gives it: tridiagonal."""
    c = 1 - alpha**2
    middle = np.full(n, (1 + alpha**2) / c)
    middle[[0, -1]] = 1 / c
    return np.diag(middle) - alpha / c * (np.eye(n, k=1) + np.eye(n, k=-1))


def dense_kl(mean, scale, alpha):
    n = len(mean)
    inside = np.trace(precision(alpha, n) * scale**2) + mean @ precision(alpha, n) @ mean
    log_det = np.linalg.slogdet(covariance(alpha, n))[1]
    return (inside - n + log_det) / 2 - np.sum(np.log(scale))


def posterior(key, shape, log_scale=1.0):
    mean, scale = jr.split(key)
    return jr.normal(mean, shape), jnp.exp(log_scale * jr.normal(scale, shape))


def normal(mean, scale):
    return dist.Normal(mean, scale, validate_args=False).to_event(2)


@pytest.mark.parametrize(
    ("n", "alpha", "known"),
    [
        (8, 0.9, 2.610346),
        (8, 0.5, 0.813272),
        (32, 0.95, 10.811484),
        (2, 0.9, 0.830366),
        (128, 0.99, 44.996801),
    ],
)
def test_the_committed_rate_is_the_least_divergence_that_a_minimiser_finds(n, alpha, known):
    diagonal = np.diag(precision(alpha, n))
    log_det = np.linalg.slogdet(covariance(alpha, n))[1]

    def kl(log_spread):
        spread = np.exp(log_spread)
        value = (diagonal @ spread - n + log_det - np.sum(log_spread)) / 2
        return value, (diagonal * spread - 1) / 2

    least = minimize(kl, np.zeros(n), jac=True, method="L-BFGS-B", tol=1e-14).fun
    found = AR1Prior((alpha,), n).committed_rate
    assert isinstance(found, float)
    assert found == pytest.approx(least, abs=1e-6)
    assert found == pytest.approx(known, abs=1e-6)


def test_it_is_reached_where_the_theory_says(promotion):
    alpha, n = 0.9, 8
    spread = np.full(n, (1 - alpha**2) / (1 + alpha**2))
    spread[[0, -1]] = 1 - alpha**2
    q = normal(jnp.zeros((n, 1)), jnp.sqrt(jnp.asarray(spread))[:, None])
    prior = AR1Prior((alpha,), n)
    assert float(prior.kl_from(q)) == pytest.approx(prior.committed_rate, abs=1e-12)


@pytest.mark.parametrize("alphas", [(0.9,), (0.3, 0.99), (0.0, 0.5, 0.999)])
def test_divergence_and_density_are_those_of_a_multivariate_normal(key, alphas):
    n = 6
    prior = AR1Prior(alphas, n)
    mean, scale = posterior(key, (n, len(alphas)))
    columns = [(np.asarray(mean)[:, k], np.asarray(scale)[:, k]) for k in range(len(alphas))]
    exact = sum(dense_kl(*column, alpha) for column, alpha in zip(columns, alphas, strict=True))
    assert float(prior.kl_from(normal(mean, scale))) == pytest.approx(exact, abs=1e-6, rel=1e-10)
    density = sum(
        multivariate_normal(np.zeros(n), covariance(alpha, n)).logpdf(column[0])
        for column, alpha in zip(columns, alphas, strict=True)
    )
    assert float(prior.log_prob(mean)) == pytest.approx(density, rel=1e-8)


def test_divergence_is_the_mean_of_the_log_ratio_of_draws(key, promotion):
    prior = AR1Prior((0.9, 0.4), 5)
    draws, params = jr.split(key)
    q = normal(*posterior(params, prior.shape, 0.3))
    z = q.sample(draws, (100_000,))
    ratio = np.asarray(q.log_prob(z) - prior.log_prob(z))
    error = ratio.std() / np.sqrt(len(ratio))
    assert abs(ratio.mean() - float(prior.kl_from(q))) < 4 * error


def test_without_correlation_it_is_the_standard_normal(key):
    prior = AR1Prior((0.0, 0.0), 4)
    mean, scale = posterior(key, prior.shape)
    standard = np.sum((mean**2 + scale**2 - 1) / 2 - jnp.log(scale))
    assert prior.committed_rate == 0
    assert float(prior.kl_from(normal(mean, scale))) == pytest.approx(float(standard), rel=1e-14)
    expected = float(log_prob(dist.Normal(0.0, 1.0), mean))
    assert float(prior.log_prob(mean)) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("dtype", "slack"), [(jnp.float64, 1e-9), (jnp.float32, 1e-4)])
def test_no_mean_field_normal_comes_nearer_than_the_committed_rate(key, dtype, slack, promotion):
    for alphas in ((0.5,), (0.9, 0.99), (0.99999,)):
        prior = AR1Prior(alphas, 12)
        far = posterior(key, (1000, *prior.shape), 2.0)
        # Half of them about the nearest one, which misses the ends of the sequence alone.
        alpha = jnp.asarray(alphas)
        least = jnp.sqrt((1 - alpha**2) / (1 + alpha**2))
        near = 1e-3 * far[0], least * far[1] ** 0.01
        q = normal(*(jnp.concatenate(pair).astype(dtype) for pair in zip(far, near, strict=True)))
        rates = prior.kl_from(q)
        assert rates.dtype == dtype
        assert float(rates.min()) >= prior.committed_rate - slack
        assert float(rates.min()) < 1.5 * prior.committed_rate + 1


def test_draws_have_unit_variance_and_correlations_that_decay(key):
    alphas, n, count = (0.9, 0.3), 6, 40_000
    z = np.asarray(AR1Prior(alphas, n).sample(key, (count,)))
    assert z.shape == (count, n, 2)
    for k, alpha in enumerate(alphas):
        exact = covariance(alpha, n)
        error = np.sqrt((1 + exact**2) / count)  # of a product of two normals
        np.testing.assert_array_less(np.abs(z[..., k].T @ z[..., k] / count - exact), 4 * error)
    across = z[..., 0].T @ z[..., 1] / count
    np.testing.assert_array_less(np.abs(across), 4.5 / np.sqrt(count))
    shape = jax.eval_shape(lambda key: AR1Prior(alphas, n).sample(key, (2, 3)), key).shape
    assert shape == (2, 3, n, 2)


@pytest.mark.parametrize(("steps", "channels"), [(2, 1), (3, 2), (64, 5)])
def test_a_prior_can_be_asked_for_by_its_committed_rate(steps, channels):
    for delta in (0, 1e-6, 0.5, 12.0):
        prior = AR1Prior.from_committed_rate(delta, steps, channels)
        assert prior.committed_rate == pytest.approx(delta, rel=1e-7, abs=1e-12)
        assert prior.shape == (steps, channels)


def test_what_does_not_fit_is_refused(key, promotion):
    prior = AR1Prior((0.9,), 4)
    full = dist.MultivariateNormal(jnp.zeros(4), jnp.eye(4))
    for call, message in (
        (lambda: AR1Prior((1.0,), 4), "`alpha` must hold correlations"),
        (lambda: AR1Prior((), 4), "`alpha` must hold correlations"),
        (lambda: AR1Prior((0.5,), 1), "`steps` must be 2 or more, got 1"),
        (lambda: AR1Prior.from_committed_rate(-1.0, 4, 1), "`delta` must be 0 or more, got -1"),
        (lambda: AR1Prior.from_committed_rate(100.0, 2, 1), "`delta` must be smaller, got 100"),
        (lambda: AR1Prior.from_committed_rate(1.0, 4, 0), "`channels` must be 1 or more, got 0"),
        (lambda: prior.kl_from(full), "`q` must be a Normal of independent entries, got Multi"),
        (lambda: prior.kl_from(dist.Normal(jnp.zeros((4, 2)), 1.0)), r"`q` must end in \(4, 1\)"),
        (lambda: prior.log_prob(jnp.zeros((4, 3))), r"`z` must end in \(4, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
