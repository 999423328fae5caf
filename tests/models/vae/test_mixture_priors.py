"""Priors that are mixtures, against SciPy and sums over draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from pullback.models.vae import Bernoulli, MixturePrior, VampPrior, mlp_vae

pytestmark = pytest.mark.usefixtures("promotion")


def check_draws(prior, key):
    """The prior's mean of z z' by draws, against the same by weights from a wide normal."""
    draws = np.asarray(prior.sample(key, (20_000,)))
    z = 3 * np.random.default_rng(0).normal(size=(20_000, 2))
    proposal = stats.norm.logpdf(z, scale=3.0).sum(1)
    weights = np.exp(jax.vmap(prior.log_prob)(jnp.asarray(z)) - proposal)
    assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(len(z))  # it is normalised
    for f in (lambda z: z[:, 0], lambda z: z[:, 0] * z[:, 1], lambda z: z[:, 1] ** 2):
        ours, theirs = f(draws), f(z) * weights
        error = np.hypot(ours.std(), theirs.std()) / np.sqrt(len(z))
        assert abs(ours.mean() - theirs.mean()) < 4 * error


def test_a_mixture_of_normals(key):
    prior = MixturePrior(3, 2, key=key)
    prior = eqx.tree_at(
        lambda p: (p.logits, p.log_std), prior,
        (jnp.array([0.0, 1.0, -1.0]), 0.3 * jr.normal(jr.key(1), (3, 2))),
    )  # fmt: skip
    z = np.array([0.3, -0.4])
    parts = stats.norm.pdf(z, prior.mean, np.exp(prior.log_std)).prod(1)
    expected = np.log(jax.nn.softmax(prior.logits) @ parts)
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(z)), expected, rtol=1e-10)
    check_draws(prior, jr.key(2))
    assert prior.sample(key).shape == (2,)
    with pytest.raises(ValueError, match="`components` and `latent` must be 1 or more"):
        MixturePrior(0, 2, key=key)


def test_a_vamp_prior_is_the_mean_of_the_posteriors_of_its_inputs(key):
    inputs = jr.normal(key, (3, 5))
    vae = mlp_vae(
        5, 2, 4, likelihood=Bernoulli(), prior=VampPrior(inputs, jax.nn.sigmoid), key=jr.key(1)
    )
    z = jnp.array([0.3, -0.4])
    rows = [np.split(np.asarray(vae.encode(jax.nn.sigmoid(row))), 2) for row in inputs]
    parts = [stats.norm.pdf(z, mean, np.exp(log_std)).prod() for mean, log_std in rows]
    np.testing.assert_allclose(vae.latent_prior().log_prob(z), np.log(np.mean(parts)), rtol=1e-10)
    check_draws(vae.latent_prior(), jr.key(2))
    # It is trained: through the inputs, and through the encoder.
    slope = eqx.filter_grad(lambda vae: vae.model(jnp.ones(5))(z))(vae)
    assert jnp.abs(slope.prior.inputs).min() > 0
    assert jnp.abs(slope.encoder.net.layers[0].weight).max() > 0
