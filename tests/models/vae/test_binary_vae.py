"""A VAE of binary vectors, against sums over a grid and densities by hand."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from pullback.bounds import ELBO, ImportanceWeighted
from pullback.models.vae import (
    Bernoulli,
    BoundLoss,
    bernoulli_log_prob,
    importance_weighted_evidence,
    mlp_vae,
)
from pullback.sampling import DoublyReparameterised, Reparameterised

pytestmark = pytest.mark.usefixtures("promotion")

X = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, 6)), float)


@pytest.fixture(scope="module")
def vae():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return mlp_vae(6, 1, 5, likelihood=Bernoulli(), key=jr.key(0))


def test_the_densities_are_those_of_scipy(vae, key):
    x, z = np.asarray(X[0]), jnp.array([0.7])
    p = np.asarray(vae.decode(z))
    likelihood = np.sum(stats.bernoulli.logpmf(x.astype(int), p))
    np.testing.assert_allclose(bernoulli_log_prob(vae.decoder(z), X[0]), likelihood, rtol=1e-10)
    joint = likelihood + stats.norm.logpdf(0.7)
    np.testing.assert_allclose(vae.model(X[0])(z), joint, rtol=1e-10)
    mean, log_std = np.asarray(vae.encoder(X[0]))
    q = stats.norm.logpdf(0.7, mean, np.exp(log_std))
    np.testing.assert_allclose(vae.posterior(X[0]).log_prob(z), q, rtol=1e-10)


def test_the_slope_of_a_pixels_log_probability_is_right_at_zero_and_far_out():
    logits = jnp.array([0.0, -90.0, 90.0, 1.3, 0.0, 3000.0])
    slope = jax.grad(bernoulli_log_prob)(logits, X[0])
    np.testing.assert_allclose(slope, X[0] - jax.nn.sigmoid(logits), rtol=1e-12)
    share = jax.nn.sigmoid(logits)
    curvature = jnp.diag(jax.hessian(bernoulli_log_prob)(logits, X[0]))
    np.testing.assert_allclose(curvature, -share * (1 - share), rtol=1e-7)
    single = bernoulli_log_prob(jnp.float32(logits), jnp.float32(X[0]))
    np.testing.assert_allclose(single, bernoulli_log_prob(logits, X[0]), rtol=1e-6)


def test_the_evidence_is_the_integral_over_a_grid(vae, key):
    grid = jnp.linspace(-9, 9, 2001)[:, None]
    exact = [jnp.log(jnp.trapezoid(jnp.exp(jax.vmap(vae.model(x))(grid)), grid[:, 0])) for x in X]
    found = importance_weighted_evidence(vae, X, samples=5000, batch_size=2, key=key)
    np.testing.assert_allclose(found, jnp.array(exact), atol=0.02)


def test_the_loss_is_minus_the_mean_bound(vae, key):
    for bound, estimator in (
        (ELBO("analytic"), Reparameterised()),
        (ImportanceWeighted(3), DoublyReparameterised()),
    ):
        loss, _ = BoundLoss(bound, estimator)(vae, X, key=key)
        keys = jr.split(jr.split(key)[1], 3)
        each = [
            bound(vae.model(x), vae.posterior(x), estimator=estimator, key=k)
            for x, k in zip(X, keys, strict=True)
        ]
        np.testing.assert_allclose(loss, -np.mean(each), rtol=1e-12)


def test_grey_pixels_are_drawn_anew(vae):
    loss = BoundLoss(ELBO("analytic"), binarise=True)
    grey = jnp.full((200, 6), 0.25)
    same = [loss(vae, X, key=jr.key(0))[0], BoundLoss(ELBO("analytic"))(vae, X, key=jr.key(0))[0]]
    assert same[0] == same[1]  # what is binary stays as it is
    values = [float(loss(vae, grey, key=jr.key(seed))[0]) for seed in range(2)]
    ones = jr.bernoulli(jr.split(jr.key(0))[0], grey).astype(float)
    assert values[0] == float(BoundLoss(ELBO("analytic"))(vae, ones, key=jr.key(0))[0])
    assert values[0] != values[1]
