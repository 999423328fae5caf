"""Rate and distortion, against tables, linear algebra and SciPy's optimiser."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import optimize, stats

from pullback.analysis import discrete_rate_distortion, rate_distortion, reverse_water_filling
from pullback.bounds import Beta, LatentModel
from pullback.models.vae import LinearVAE

pytestmark = pytest.mark.usefixtures("promotion")

EIGENVALUES = np.array([4.0, 2.0, 1.0, 0.5, 0.2])
NOISE = 0.5  # variance


def test_tables_obey_both_identities(key):
    for seed in range(3):
        p, encoder, prior, decoder = (
            jax.nn.log_softmax(jr.normal(k, shape))
            for k, shape in zip(
                jr.split(jr.key(seed), 4), [(6,), (6, 3), (3,), (3, 6)], strict=True
            )
        )
        found = discrete_rate_distortion(jnp.exp(p), encoder, prior, decoder)
        # By the definitions, with NumPy.
        joint = np.exp(p)[:, None] * np.exp(encoder)
        aggregate = joint.sum(0)
        back = joint / aggregate
        entropy = -np.sum(np.exp(p) * p)
        np.testing.assert_allclose(found.entropy, entropy, rtol=1e-12)
        np.testing.assert_allclose(
            found.rate - found.information, np.sum(aggregate * (np.log(aggregate) - prior)),
            atol=1e-10,
        )  # fmt: skip
        apart = np.sum(joint * (np.log(back) - np.asarray(decoder).T))
        np.testing.assert_allclose(
            found.information - (found.entropy - found.distortion), apart, atol=1e-10
        )
        product = np.exp(p)[:, None] * aggregate
        exact = np.sum(joint * np.log(joint / product))
        np.testing.assert_allclose(found.information, exact, atol=1e-10)
        assert found.entropy - found.distortion <= found.information <= found.rate


@pytest.mark.parametrize(
    ("beta", "rate", "distortion"),
    [(0.5, 3.46574, 4.06182), (1, 2.07944, 5.06182), (2, 1.03972, 6.56182), (6, 0.14384, 9.56182)],
)
def test_water_filling_is_what_an_optimiser_finds(beta, rate, distortion):
    found = reverse_water_filling(jnp.asarray(EIGENVALUES), NOISE, float(beta))
    np.testing.assert_allclose(found, (rate, distortion), atol=6e-6)

    # The diagonal model by hand, for each dimension alone: w, gain g, log standard deviation.
    def terms(params):
        w, g, log_std = params.reshape(3, -1)
        variance = np.exp(2 * log_std)
        rates = (g**2 * EIGENVALUES + variance - 1) / 2 - log_std
        squares = EIGENVALUES * (1 - w * g) ** 2 + w**2 * variance
        return rates.sum(), np.sum(squares / NOISE + np.log(2 * np.pi * NOISE)) / 2

    start = np.concatenate([np.ones(5), 0.5 * np.ones(5), -0.5 * np.ones(5)])
    best = optimize.minimize(
        lambda params: terms(params)[1] + beta * terms(params)[0], start, tol=1e-10
    )
    value = found[1] + beta * found[0]
    np.testing.assert_allclose(best.fun, value, atol=1e-5)
    np.testing.assert_allclose(terms(best.x), found, atol=2e-3)


def test_the_slope_of_the_curve_is_minus_one_over_beta():
    low, high = (
        np.array(reverse_water_filling(jnp.asarray(EIGENVALUES), NOISE, 2 + change))
        for change in (-1e-5, 1e-5)
    )
    rate, distortion = high - low
    np.testing.assert_allclose(rate / distortion, -1 / 2, rtol=1e-6)


@pytest.fixture(scope="module")
def data():
    """Rows whose sample covariance is exactly diagonal, with the eigenvalues above."""
    rows = np.random.default_rng(0).normal(size=(200, 5))
    rows -= rows.mean(0)
    u, _, _ = np.linalg.svd(rows, full_matrices=False)
    return jnp.asarray(u * np.sqrt(200 * EIGENVALUES))


def optimum(beta):
    """The linear model that fills water in reverse, by its formulas."""
    level = beta * NOISE
    w = np.sqrt(np.maximum(EIGENVALUES - level, 0))
    on = w > 0
    vae = LinearVAE(5, 5, NOISE**0.5, key=jr.key(0))
    gain = np.where(on, w / EIGENVALUES, 0)
    std = np.where(on, np.sqrt(level / EIGENVALUES), 1)
    replace = (jnp.diag(w), jnp.diag(gain), jnp.zeros(5), jnp.log(std))
    parts = lambda v: (v.decoder, v.encoder, v.offset, v.log_std)
    return eqx.tree_at(parts, vae, replace)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_a_linear_model_at_its_optimum_lies_on_the_curve_and_is_still(data, beta):
    vae = optimum(beta)
    metrics = Beta(beta)(vae.terms(data))[1]
    rate, distortion = reverse_water_filling(jnp.asarray(EIGENVALUES), NOISE, beta)
    np.testing.assert_allclose((metrics["rate"], metrics["distortion"]), (rate, distortion))
    slope = jax.grad(lambda vae: Beta(beta)(vae.terms(data))[0])(vae)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope)) < 1e-9


def test_at_beta_one_it_is_probabilistic_pca(data):
    vae = optimum(1.0)
    terms = vae.terms(data)
    covariance: Any = np.asarray(vae.decoder @ vae.decoder.T) + NOISE * np.eye(5)
    exact = stats.multivariate_normal.logpdf(np.asarray(data), np.zeros(5), covariance)
    np.testing.assert_allclose(-(terms.distortion + terms.rate).mean(), exact.mean(), rtol=1e-9)


def test_the_closed_form_of_a_linear_model_is_the_mean_over_draws(data):
    vae = LinearVAE(5, 2, 0.7, key=jr.key(3))
    terms = vae.terms(data[:3])
    for i in range(3):
        model, q = vae.target(data[i])
        z = q.sample(jr.key(1), (20_000,))
        found = -np.asarray(jax.vmap(model.log_likelihood)(z))
        assert abs(found.mean() - terms.distortion[i]) < 4 * found.std() / np.sqrt(len(found))


def test_the_report_is_right_on_a_channel_whose_information_is_known(data):
    vae = optimum(1.0)
    found = rate_distortion(vae.target, data, num_samples=200, batch_size=200, key=jr.key(0))
    terms = vae.terms(data)
    np.testing.assert_allclose(found.rate, terms.rate.mean(), rtol=1e-9)
    assert abs(found.distortion - terms.distortion.mean()) < 0.05
    np.testing.assert_allclose(found.rate_error, terms.rate.std() / np.sqrt(200), rtol=1e-6)
    np.testing.assert_allclose(found.elbo, -found.rate - found.distortion)
    assert found.active == 3  # eigenvalues above the noise; the variances are 1 - noise / lambda
    # Here the rate is the information, for the aggregate posterior is the prior.
    assert found.rate - 0.35 < found.information_lower < found.rate
    assert found.information_lower < found.information_upper <= found.rate
    with pytest.raises(ValueError, match="must be 2 or more"):
        rate_distortion(vae.target, data, num_samples=1, key=jr.key(0))


def test_a_rate_without_a_closed_form_is_sampled():
    # A prior that is a mixture of one: the same rate, sampled.
    prior = dist.MixtureSameFamily(dist.Categorical(jnp.ones(1)), dist.Normal(jnp.zeros(1), 1.0))

    def target(x):
        return LatentModel(lambda z: -jnp.square(x - z), prior), dist.Normal(x, 0.5)

    x = jr.normal(jr.key(0), (500,))
    found = rate_distortion(target, x, num_samples=100, key=jr.key(1))
    exact = np.mean((np.asarray(x) ** 2 + 0.25 - 1) / 2 - np.log(0.5))
    assert abs(found.rate - exact) < 0.03
    # A rate above the bound of leaving one out is no upper bound worth stating.
    assert found.information_upper <= found.rate


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`noise_variance` and `beta` must be above 0"):
        reverse_water_filling(jnp.ones(2), 0.5, 0.0)


def test_active_units_of_a_posterior_without_a_known_mean():
    class Shifted(eqx.Module):  # two entries, of which the data move one
        x: jax.Array

        def sample(self, key, shape=()):
            return jnp.stack([self.x, 0 * self.x]) + 0.1 * jr.normal(key, (*shape, 2))

        def log_prob(self, z):
            return jnp.sum(stats_norm(z, jnp.stack([self.x, 0 * self.x])))

    stats_norm = lambda z, mean: dist.Normal(mean, 0.1).log_prob(z)

    def target(x):
        prior = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
        return LatentModel(lambda z: -jnp.sum(jnp.square(z)), prior), Shifted(x)

    x = jr.normal(jr.key(0), (400,))
    assert rate_distortion(target, x, num_samples=8, key=jr.key(1)).active == 1


EYE, HALF = jnp.eye(2), jnp.array([0.5, 0.5])


@pytest.mark.parametrize(
    ("p", "encoder", "prior", "decoder", "wanted"),
    [
        # A code of one bit without loss; the same where one of two letters never comes.
        (HALF, EYE, HALF, EYE, (0, np.log(2), np.log(2), np.log(2))),
        (jnp.array([1.0, 0.0]), EYE, jnp.array([1.0, 0.0]), EYE, (0, 0, 0, 0)),
        (jnp.array([1.0, 0.0]), EYE, HALF, EYE, (0, np.log(2), 0, 0)),
        # What the decoder cannot make, and what the prior does not have.
        (HALF, EYE, HALF, EYE[::-1], (np.inf, np.log(2), np.log(2), np.log(2))),
        (HALF, EYE, jnp.array([1.0, 0.0]), EYE, (0, np.inf, np.log(2), np.log(2))),
    ],
)
def test_tables_with_zeros(p, encoder, prior, decoder, wanted):
    tables = p, jnp.log(encoder), jnp.log(prior), jnp.log(decoder)
    for found in (discrete_rate_distortion(*tables), jax.jit(discrete_rate_distortion)(*tables)):
        np.testing.assert_allclose(found, wanted, atol=1e-12)
    slope = jax.grad(lambda p: discrete_rate_distortion(p, *tables[1:]).information)
    assert bool(jnp.isfinite(jax.jit(slope)(HALF)).all())


@pytest.mark.parametrize("place", range(4))
def test_tables_that_are_no_probabilities(place):
    tables = [HALF, jnp.log(jnp.full((2, 2), 0.5)), jnp.log(HALF), jnp.log(jnp.full((2, 2), 0.5))]
    tables[place] = tables[place] * 1.2 if place == 0 else tables[place] + 0.2
    name = ("p_x", "log_encoder", "log_prior", "log_decoder")[place]
    with pytest.raises(ValueError, match=f"`{name}` must be probabilities that sum to 1"):
        discrete_rate_distortion(*tables)
    assert bool(jnp.isnan(jax.jit(discrete_rate_distortion)(*tables).distortion))


def test_water_that_is_no_number():
    for values in ([np.nan, 1.0], [np.inf], [-1.0]):
        with pytest.raises(ValueError, match="`eigenvalues` finite and 0 or more"):
            reverse_water_filling(np.array(values), 0.5, 1.0)
    with pytest.raises(ValueError, match="at least one"):
        reverse_water_filling(np.zeros(0), 0.5, 1.0)
    rate, distortion = reverse_water_filling(np.array([0.0, 0.0]), 0.5, 1.0)  # constant columns
    assert (rate, distortion) == (0, pytest.approx(np.log(np.pi)))


def test_a_row_without_a_rate_is_named(key):
    def target(x):
        model = LatentModel(lambda z: -jnp.sum((x - z) ** 2), dist.Normal(0.0, 1.0))
        return model, dist.Normal(x, 1.0)

    with pytest.raises(ValueError, match="NaN at 1 of the 4 rows of `x`, the first of them row 2"):
        rate_distortion(target, jnp.array([0.0, 1.0, jnp.nan, 2.0]), batch_size=2, key=key)


def test_a_likelihood_that_is_not_summed_is_refused(key):
    prior = dist.Normal(jnp.zeros(2), 1.0).to_event(1)

    def target(x):
        return LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(x), prior), prior

    with pytest.raises(ValueError, match=r"must be a scalar, .* got the shape \(2,\)"):
        rate_distortion(target, jnp.zeros((4, 2)), batch_size=2, key=key)
