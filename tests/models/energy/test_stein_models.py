"""Models of unnormalised density against sums, grids and enumeration."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import logistic, multivariate_normal

from pullback.calculus import stein_operator
from pullback.models.energy import (
    GaussianBernoulliRBM,
    LinearICA,
    TiltedGaussian,
    random_unmixing,
)

UNMIXING = jnp.array([[1.0, 0.5, 0.0], [-0.4, 1.2, 0.3], [0.2, 0.1, -0.8]])
RBM = GaussianBernoulliRBM(
    jnp.array([[1.0, -0.5, 0.3], [0.4, 1.2, -0.7]]),
    jnp.array([0.3, -0.2]),
    jnp.array([0.2, -0.4, 0.1]),
)


def test_ica_is_a_change_of_variables_of_logistic_sources():
    x = jr.normal(jr.key(0), (5, 3))
    found = jax.vmap(LinearICA(UNMIXING).log_prob)(x)
    want = logistic.logpdf(np.asarray(x) @ np.asarray(UNMIXING)).sum(axis=1)
    want = want + np.log(abs(np.linalg.det(UNMIXING)))
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_scores_are_the_slopes_of_densities():
    x = jr.normal(jr.key(1), (4, 3))
    ica = LinearICA(UNMIXING)
    tilted = TiltedGaussian(lambda x: jnp.sin(x[0]) * x[1], jnp.ones(3), 2 * jnp.ones(3))
    for score, density, points in (
        (ica.score, ica.log_prob, x),
        (RBM.score, RBM.log_density, x[:, :2]),
        (tilted.score, tilted.log_density, x),
    ):
        np.testing.assert_allclose(
            jax.vmap(score)(points), jax.vmap(jax.grad(density))(points), atol=1e-12
        )


def test_draws_of_ica_have_its_covariance(key):
    """Of a logistic source the variance is pi^2 / 3; within 4 standard errors."""
    n = 40_000
    x = np.asarray(LinearICA(UNMIXING).sample(key, (n,)))
    mixing = np.linalg.inv(UNMIXING)
    want = np.pi**2 / 3 * mixing.T @ mixing
    products = x[:, :, None] * x[:, None, :]
    error = products.std(axis=0) / np.sqrt(n)
    assert (abs(products.mean(axis=0) - want) < 4 * error).all()


def test_random_matrices_are_well_conditioned():
    found = jax.vmap(lambda key: random_unmixing(6, key=key))(jr.split(jr.key(2), 20))
    conditions = np.linalg.cond(found)
    assert (conditions < 6).all()
    assert len(np.unique(conditions)) == 20


def rbm_mixture():
    """The machine as the mixture that it is: means and weights, by enumeration in NumPy."""
    h = np.array(list(itertools.product((-1, 1), repeat=3)), float)
    means = h @ np.asarray(RBM.weights).T / 2 + np.asarray(RBM.bias)
    weights = np.exp(h @ np.asarray(RBM.hidden_bias) + (means**2).sum(axis=1) / 2)
    return means, weights / weights.sum()


def test_the_machine_is_a_mixture_of_gaussians_and_normalised():
    means, weights = rbm_mixture()
    x = jr.normal(jr.key(3), (5, 2))
    want = sum(w * multivariate_normal.pdf(x, m) for m, w in zip(means, weights, strict=True))
    np.testing.assert_allclose(jax.vmap(RBM.log_prob)(x), np.log(want), rtol=1e-10)


def test_gibbs_sampling_has_the_moments_of_the_mixture_and_fulfils_the_identity(key):
    """Chains are independent, so that 4 standard errors hold as they are."""
    n = 20_000
    x = jax.jit(lambda key: RBM.sample(key, (n,), steps=40))(key)
    means, weights = rbm_mixture()
    want = weights @ means
    second = np.einsum("k,ki,kj->ij", weights, means, means) + np.eye(2)
    x_ = np.asarray(x)
    assert (abs(x_.mean(axis=0) - want) < 4 * x_.std(axis=0) / np.sqrt(n)).all()
    products = x_[:, :, None] * x_[:, None, :]
    assert (abs(products.mean(axis=0) - second) < 4 * products.std(axis=0) / np.sqrt(n)).all()
    field = lambda x: jnp.tanh(RBM.weights.T[:2] @ x)
    found = np.asarray(jax.vmap(lambda x: stein_operator(field, RBM.score, x))(x))
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(n)


def test_a_net_of_zero_leaves_the_gaussian_that_was_fitted():
    x = jr.normal(jr.key(4), (50, 2)) * jnp.array([[1.0, 3.0]])
    model = TiltedGaussian.fitted(lambda x: jnp.zeros(()), x)
    want = multivariate_normal.logpdf(
        x[:5], np.asarray(x).mean(axis=0), np.diag(np.asarray(x).var(axis=0)).tolist()
    )
    np.testing.assert_allclose(jax.vmap(model.log_density)(x[:5]), want, rtol=1e-12)


def test_no_gradient_flows_into_the_gaussian():
    model = TiltedGaussian(lambda x: x[0], jnp.ones(2), 2 * jnp.ones(2))
    slope = jax.grad(lambda arrays: TiltedGaussian(model.net, *arrays).log_density(jnp.zeros(2)))(
        (model.mean, model.scale)
    )
    assert all((np.asarray(part) == 0).all() for part in slope)
    assert not jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"`unmixing` must be square, got shape \(2, 3\)"):
        LinearICA(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"`weights` must have shape \[dim, hidden\]"):
        GaussianBernoulliRBM(jnp.zeros((2, 3)), jnp.zeros(3), jnp.zeros(2))
    many = GaussianBernoulliRBM(jnp.zeros((2, 21)), jnp.zeros(2), jnp.zeros(21))
    with pytest.raises(ValueError, match="takes 20 hidden units at most"):
        many.log_normaliser()
    with pytest.raises(ValueError, match="`mean` and `scale` must be of one shape"):
        TiltedGaussian(lambda x: x[0], jnp.zeros(2), jnp.zeros(3))
