"""Families of posteriors and closed-form divergences, against SciPy and sums over draws."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from pullback.bounds import (
    DiagonalNormal,
    FullCovarianceNormal,
    LatentModel,
    NormalMixture,
    kl_divergence,
)
from pullback.sampling import StandardNormal, draw, log_prob

pytestmark = pytest.mark.usefixtures("promotion")

FAMILIES = [DiagonalNormal(3), FullCovarianceNormal(3), NormalMixture(2, 3)]


def of_scipy(family, params, z):
    """The log-density at rows z, from the documented meaning of the parameters."""
    params = np.asarray(params)
    if isinstance(family, DiagonalNormal):
        return stats.norm.logpdf(z, params[:3], np.exp(params[3:])).sum(1)
    if isinstance(family, FullCovarianceNormal):
        root = np.diag(np.exp(params[3:6]))
        root[np.tril_indices(3, -1)] = params[6:]
        covariance: Any = root @ root.T
        return stats.multivariate_normal.logpdf(z, params[:3], covariance)
    weights = np.exp(params[:, 0]) / np.exp(params[:, 0]).sum()
    parts = [stats.norm.pdf(z, row[1:4], np.exp(row[4:])).prod(1) for row in params]
    return np.log(weights @ np.stack(parts))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_a_family_is_what_it_says(family, key):
    params = 0.5 * jr.normal(key, family.shape)
    q = family(params)
    z = draw(q, jr.key(1), (5,))
    found = jax.vmap(lambda z: log_prob(q, z))(z)
    np.testing.assert_allclose(found, of_scipy(family, params, np.asarray(z)), rtol=1e-9)
    model = LatentModel(lambda z: jnp.sum(z), StandardNormal(3))
    assert family.augment(model, params) is model
    with pytest.raises(ValueError, match="`params` must have the family's `shape`"):
        family(jnp.zeros(2))


def test_the_entries_of_a_table_of_latents_are_all_there(key):
    family = DiagonalNormal((4, 3))
    params = jr.normal(key, (4, 6))
    z = jr.normal(jr.key(1), (4, 3))
    expected = stats.norm.logpdf(z, params[:, :3], np.exp(params[:, 3:])).sum()
    np.testing.assert_allclose(log_prob(family(params), z), expected, rtol=1e-10)
    expected_prior = stats.norm.logpdf(z).sum()
    np.testing.assert_allclose(log_prob(StandardNormal((4, 3)), z), expected_prior, rtol=1e-10)
    # The divergence of the table is that of its entries laid end to end.
    flat = dist.MultivariateNormal(
        params[:, :3].ravel(), jnp.diag(jnp.exp(2 * params[:, 3:]).ravel())
    )
    np.testing.assert_allclose(
        kl_divergence(family(params), StandardNormal((4, 3))),
        kl_divergence(flat, StandardNormal(12)),
        rtol=1e-9,
    )


@pytest.mark.parametrize("family", FAMILIES[:2], ids=lambda family: type(family).__name__)
def test_the_divergence_from_the_standard_normal_is_the_mean_over_draws(family, key):
    q, prior = family(0.5 * jr.normal(key, family.shape)), StandardNormal(3)
    z = draw(q, jr.key(1), (40_000,))
    apart = np.asarray(jax.vmap(lambda z: log_prob(q, z) - log_prob(prior, z))(z))
    band = 4 * apart.std() / 200
    assert abs(apart.mean() - kl_divergence(q, prior)) < band


def test_what_has_no_closed_form_is_refused():
    mixture = FAMILIES[2](jnp.zeros(FAMILIES[2].shape))
    with pytest.raises(ValueError, match='take `kl="sampled"`'):
        kl_divergence(mixture, StandardNormal(3))
    with pytest.raises(ValueError, match="`latent` must be 1 or more"):
        DiagonalNormal(0)
    with pytest.raises(ValueError, match="`components` must be 1 or more"):
        NormalMixture(0, 2)
