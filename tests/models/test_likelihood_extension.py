"""Likelihoods of a user's own, written from the documentation alone: public names only."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jax.scipy.special import gammaln
from numpyro.distributions import constraints
from scipy import special, stats

import pullback as pb
from pullback.models import timeseries as ts
from pullback.models.likelihoods import AbstractLikelihood, Kind, within_support
from pullback.models.vae import BoundLoss, mlp_vae

pytestmark = pytest.mark.usefixtures("promotion")


class Laplace(AbstractLikelihood):
    """Errors with long tails, of one learned scale."""

    kind: ClassVar[Kind] = "real"
    log_scale: jax.Array

    @property
    def support(self):
        return constraints.real

    def params_shape(self, shape):
        return shape

    def log_prob(self, params, x):
        return -jnp.abs(x - params) / jnp.exp(self.log_scale) - self.log_scale - math.log(2)

    def mean(self, params):
        return params

    def sample(self, params, *, key):
        return params + jnp.exp(self.log_scale) * jr.laplace(key, params.shape, params.dtype)


class Beta(AbstractLikelihood):
    """Shares between 0 and 1; the decoder emits the logarithms of both concentrations."""

    kind: ClassVar[Kind] = "real"

    @property
    def support(self):
        return constraints.open_interval(0.0, 1.0)

    def params_shape(self, shape):
        return (*shape, 2)

    def log_prob(self, params, x):
        a, b = jnp.exp(params[..., 0]), jnp.exp(params[..., 1])
        value = (a - 1) * jnp.log(x) + (b - 1) * jnp.log1p(-x)
        return within_support(self.support, x, value + gammaln(a + b) - gammaln(a) - gammaln(b))

    def mean(self, params):
        return jax.nn.sigmoid(params[..., 0] - params[..., 1])

    def sample(self, params, *, key):
        return jr.beta(key, jnp.exp(params[..., 0]), jnp.exp(params[..., 1]))


class Frozen(eqx.Module):
    """A posterior of no spread to speak of, at one place."""

    place: jax.Array

    def __call__(self, times, values, mask, *, anchor):
        return ts.Posterior(self.place, jnp.full_like(self.place, 1e-9))


def test_the_elbo_of_an_autoencoder_is_its_own_by_hand(key):
    """A decoder that does not see z: the bound is the likelihood less a KL in closed form."""
    x = np.array([0.2, 0.9, 0.5])
    vae = mlp_vae(3, latent=1, width=2, likelihood=Beta(), key=key)
    params = np.array([[0.3, -0.2], [1.0, 0.1], [-0.4, 0.6]])
    vae = eqx.tree_at(lambda v: v.decoder, vae, lambda z: jnp.asarray(params))
    mean, log_std = np.asarray(vae.encoder(jnp.asarray(x)))
    kl = ((mean**2 + np.exp(2 * log_std) - 1) / 2 - log_std).item()
    expected = stats.beta.logpdf(x, *np.exp(params.T)).sum() - kl
    loss = BoundLoss(pb.bounds.ELBO("analytic"))
    for score in (loss, eqx.filter_jit(loss)):
        found, _ = score(vae, jnp.asarray(x)[None], key=key)
        np.testing.assert_allclose(-found, expected, rtol=1e-10)
    with pytest.raises(ValueError, match=r"row 1 of `data` has 1 at \[2\], and data of a Beta"):
        pb.train.evaluate(vae, loss, jnp.asarray([x, [0.5, 0.5, 1.0]]), batch_size=2, key=key)


def test_a_learned_scale_is_trained_to_the_mean_absolute_error():
    x = np.random.default_rng(0).laplace(size=(200, 2)) * 0.4
    vae = mlp_vae(2, latent=1, width=2, likelihood=Laplace(jnp.zeros(())), key=jr.key(0))
    vae = eqx.tree_at(lambda v: v.decoder, vae, lambda z: jnp.zeros(2))
    trained, _ = pb.train.fit(
        vae, BoundLoss(pb.bounds.ELBO("analytic")), jnp.asarray(x), optimiser=optax.adam(0.05),
        steps=150, batch_size=200, log_every=150, progress=False, key=jr.key(1),
    )  # fmt: skip
    # A step of Adam is at most 0.05, and the last ones are small.
    np.testing.assert_allclose(jnp.exp(trained.likelihood.log_scale), np.abs(x).mean(), rtol=0.02)


def series(values):
    times = jnp.asarray([[0.0, 0.4, 1.0]])
    mask = jnp.asarray([[[True, True], [True, False], [True, True]]])
    return ts.Observations(times, jnp.where(mask, jnp.asarray(values)[None], jnp.nan), mask)


SHARES = [[0.2, 0.9], [0.4, 0.0], [0.7, 0.1]]


def still(likelihood, params):
    """A latent ODE whose state stands still, and whose decoder says the same of every time."""
    model = ts.latent_ode(2, latent=1, steps=1, likelihood=likelihood, key=jr.key(0))
    return eqx.tree_at(
        lambda m: (m.encoder, m.field, m.decoder),
        model,
        (Frozen(jnp.zeros(1)), lambda t, z, args: jnp.zeros_like(z), lambda z: params),
    )


def test_a_latent_ode_scores_and_predicts_with_it(key):
    params = np.array([[0.3, -0.2], [1.0, 0.1]])
    model, observed = still(Beta(), jnp.asarray(params)), series(SHARES)
    distribution: Any = stats.beta(*np.exp(params.T))
    found = model.elbo_terms(observed, key=key)
    expected = np.where(
        observed.mask, distribution.logpdf(np.where(observed.mask, SHARES, 0.5)), 0
    ).sum()
    np.testing.assert_allclose(found.log_likelihood[0], expected, rtol=1e-10)
    said = ts.predict(model, observed, jnp.asarray([[0.5]]), level=0.8, samples=4000, key=key)
    np.testing.assert_allclose(said.mean[0, 0], special.expit(params[:, 0] - params[:, 1]))
    for end, share in ((said.lower, 0.1), (said.upper, 0.9)):
        # Of the distribution's mass below a quantile of 4000 draws, four standard errors.
        assert np.all(np.abs(distribution.cdf(end[0, 0]) - share) < 4 * math.sqrt(0.09 / 4000))
    with pytest.raises(ValueError, match=r"row 0 of `observed.values` has 1 at \[2, 0\]"):
        model.elbo(series([*SHARES[:2], [1.0, 0.1]]), key=key)


def test_what_lies_under_the_mask_reaches_no_gradient(key):
    model, observed = still(Beta(), jnp.zeros((2, 2))), series(SHARES)
    model = eqx.tree_at(lambda m: m.decoder, model, eqx.nn.Linear(1, 4, key=key))
    decoder = lambda linear: lambda z: linear(z).reshape(2, 2)

    @eqx.filter_jit
    @eqx.filter_grad
    def slope(linear):
        return eqx.tree_at(lambda m: m.decoder, model, decoder(linear)).elbo(observed, key=key)[0]

    found = slope(model.decoder)
    assert np.isfinite(found.bias).all()
    assert np.abs(found.bias).min() > 1e-3
