"""The mutual information gap, where it is known."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from pullback.analysis import mig

pytestmark = pytest.mark.usefixtures("promotion")


def grid(*sizes):
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, len(sizes))


def posterior_of(mean, std):
    mean = jnp.asarray(mean, float)
    std = jnp.broadcast_to(jnp.asarray(std, float), mean.shape)
    return jax.vmap(lambda m, s: dist.Normal(m, s).to_event(1))(mean, std)


FACTORS = grid(6, 5, 4)
# One latent a factor, and two that say nothing.
AXES = np.hstack([FACTORS, np.zeros((120, 2))])
STDS = np.array([1e-3**0.5] * 3 + [1.0] * 2)


def test_a_latent_for_each_factor_has_the_whole_gap():
    found = mig(posterior_of(AXES, STDS), FACTORS, num_samples=600, key=jr.key(0))
    assert found.mig > 0.95
    expected = np.zeros((3, 5))
    np.fill_diagonal(expected, np.log([6, 5, 4]))
    np.testing.assert_allclose(found.mutual_information, expected, atol=0.02)
    np.testing.assert_allclose(found.entropy, np.log([6, 5, 4]))


def test_turned_latents_have_next_to_none():
    factors = grid(6, 6)
    centred = (factors - factors.mean(axis=0)).astype(float)
    turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / math.sqrt(2)
    found = mig(posterior_of(centred @ turn, 1e-3**0.5), factors, num_samples=360, key=jr.key(0))
    assert found.mig < 0.1
    assert found.mutual_information.min() > 0.3


def test_a_posterior_that_is_the_prior_has_none():
    posterior = posterior_of(np.zeros((120, 4)), 1.0)
    found = mig(posterior, FACTORS, num_samples=120, key=jr.key(0))
    np.testing.assert_allclose(found.mig, 0, atol=1e-12)
    np.testing.assert_allclose(found.mutual_information, 0, atol=1e-12)
    assert found.mutual_information.min() >= 0


def test_order_scale_and_shift_of_latents_do_not_matter():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(120, 3)) + FACTORS / 2, rng.uniform(0.3, 1, size=(120, 3))
    plain = mig(posterior_of(mean, std), FACTORS, num_samples=500, key=jr.key(0))
    scale, shift = np.array([3.0, 0.1, 7.0]), np.array([0.0, -5.0, 2.0])
    moved = mig(
        posterior_of(mean * scale + shift, std * scale), FACTORS, num_samples=500, key=jr.key(0)
    )
    np.testing.assert_allclose(moved.mutual_information, plain.mutual_information, rtol=1e-6)
    # In another order each latent has another's noise: the same but for that.
    order = [2, 0, 1]
    turned = mig(
        posterior_of(mean[:, order], std[:, order]), FACTORS, num_samples=20_000, key=jr.key(1)
    )
    many = mig(posterior_of(mean, std), FACTORS, num_samples=20_000, key=jr.key(2))
    np.testing.assert_allclose(
        turned.mutual_information, many.mutual_information[:, np.array(order)], atol=0.03
    )
    assert abs(turned.mig - many.mig) < 0.02


def test_the_information_of_a_noisy_latent_is_that_of_an_integral():
    """Two values at distance 2 and noise of 1, of which one has three quarters of the examples."""
    factors = np.array([[0, 0], [0, 1], [0, 2], [1, 0]])
    shares, places = np.array([0.75, 0.25]), np.array([0.0, 2.0])

    def integrand(z):
        given = norm.pdf(z, places)
        return np.sum(shares * given * np.log(given / np.sum(shares * given)))

    expected = quad(integrand, -8, 10)[0]
    mean = np.stack([2.0 * factors[:, 0], np.zeros(4)], axis=1)
    found = mig(
        posterior_of(mean, 1.0), factors, num_samples=40_000, batch_size=4000, key=jr.key(0)
    )
    # A ratio is a number from about -2 to 1.4; 4 standard errors.
    assert abs(found.mutual_information[0, 0] - expected) < 4 * 0.7 / math.sqrt(40_000)
    entropy = -np.sum(shares * np.log(shares))
    np.testing.assert_allclose(found.entropy[0], entropy)
    np.testing.assert_allclose(
        found.per_factor[0], found.mutual_information[0, 0] / entropy, atol=1e-9
    )


def test_the_gap_is_to_the_next_latent_and_not_to_the_last():
    """One tells a factor of two values, one tells it through noise, and one says nothing."""
    factors = grid(2, 2)
    places = np.array([0.0, 2.0])

    def integrand(z):
        given = norm.pdf(z, places)
        return np.sum(0.5 * given * np.log(given / np.sum(0.5 * given)))

    told = quad(integrand, -8, 10)[0]
    first = factors[:, 0]
    mean = np.stack([0.0 * first, 100.0 * first, 2.0 * first], axis=1)
    found = mig(
        posterior_of(mean, 1.0), factors, num_samples=40_000, batch_size=4000, key=jr.key(0)
    )
    error = 0.7 / math.sqrt(40_000)
    assert abs(found.per_factor[0] - (1 - told / math.log(2))) < 4 * error / math.log(2)
    np.testing.assert_allclose(found.mutual_information[0, 1], math.log(2), rtol=1e-6)
    assert found.per_factor[1] < 4 * error / math.log(2)


def test_no_factor_is_told_more_of_than_it_has():
    """Samples that do not see every example alike."""
    found = mig(posterior_of(AXES, 1e-4), FACTORS, num_samples=7, key=jr.key(3))
    assert np.all(found.mutual_information <= found.entropy[:, None])
    assert found.mig <= 1


def two_normals(count, seed=0):
    """Two independent normal factors, by the quantiles of one in an order of its own each."""
    rng = np.random.default_rng(seed)
    values = norm.ppf((np.arange(count) + 0.5) / count)
    return np.stack([rng.permutation(values), rng.permutation(values)], axis=1)


def told_of_bins(bins, std):
    """What z ~ N(v, std^2) tells of the bin of a standard normal v, by Bayes and quadrature."""
    edges = norm.ppf(np.arange(bins + 1) / bins)
    total = (1 + std**2) ** 0.5

    def integrand(z):
        # v given z is normal, and so its share of a bin is a difference of two.
        share = np.diff(norm.cdf(edges, z / total**2, std / total))
        share = np.maximum(share, 1e-300)
        return norm.pdf(z, scale=total) * np.sum(share * np.log(share * bins))

    return quad(integrand, -8 * total, 8 * total, limit=200)[0]


def test_what_is_told_of_continuous_factors_is_that_of_their_bins():
    """Up to what is told of the factor itself, log(1 + 1 / std^2) / 2, as bins become more."""
    std, count = 0.5, 1500
    factors = two_normals(count)
    posterior = posterior_of(factors, std)
    whole = 0.5 * math.log(1 + 1 / std**2)
    for bins, near in ((4, 0.01), (30, 0.01)):
        found = mig(posterior, factors, bins=bins, num_samples=3000, batch_size=500, key=jr.key(0))
        exact = told_of_bins(bins, std)
        assert exact < whole
        own = np.diagonal(found.mutual_information)
        # The log of a ratio has a deviation below 0.75 here, and the bins' examples are not all.
        assert np.all(np.abs(own - exact) < 4 / 3000**0.5 * 0.75 + near), (own, exact)
        np.testing.assert_allclose(found.entropy, np.log(bins), rtol=1e-3)
        off = found.mutual_information[np.array([0, 1]), np.array([1, 0])]
        assert np.all(off < near)
    assert whole - told_of_bins(30, std) < 0.02


def test_a_latent_that_tells_examples_apart_does_not_tell_every_factor():
    """Its own example under its sample would be all of both densities, and the gap be none."""
    factors = two_normals(400)
    found = mig(posterior_of(factors, 1e-3), factors, bins=5, num_samples=400, key=jr.key(0))
    assert found.mig > 0.9
    off = found.mutual_information[np.array([0, 1]), np.array([1, 0])]
    np.testing.assert_array_equal(off, 0)


def test_units_do_not_matter_and_few_values_are_taken_as_they_are():
    factors = two_normals(200)
    run = lambda factors, bins: mig(
        posterior_of(np.asarray(two_normals(200)), 0.3), factors, bins=bins, num_samples=200,
        key=jr.key(0),
    )  # fmt: skip
    plain, moved = run(factors, 5), run(1e-6 * factors - 3.0, 5)
    np.testing.assert_allclose(plain.per_factor, moved.per_factor, rtol=1e-9)
    signs = np.stack([factors[:, 0] > 0, factors[:, 1] > 1], axis=1).astype(int)
    by_value, as_floats = run(signs, None), run(signs / 7.0, 5)
    np.testing.assert_allclose(by_value.mutual_information, as_floats.mutual_information)


@pytest.mark.parametrize(
    ("factors", "bins", "message"),
    [
        (AXES[:, :3] + 0.5, 1, "`bins` must be 2 or more, got 1"),
        (np.where(AXES[:, :3] == 0, np.nan, 1.5), 4, "must be finite"),
        (np.arange(360.0).reshape(120, 3), 100, "a bin of column 0 with one example"),
        (np.full((120, 2), 0.5), 4, "the value 0.5 for every example in column 0"),
    ],
)
def test_bins_that_make_no_sense_are_refused(factors, bins, message):
    with pytest.raises(ValueError, match=message):
        mig(posterior_of(AXES, STDS), factors, bins=bins, num_samples=120, key=jr.key(0))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (FACTORS[:-1], r"a row for each of the 120 examples of `posterior`.*got the shape \[119"),
        (FACTORS[:, 0], r"got the shape \[120\]"),
        (FACTORS / 2, "must be whole numbers, got float64.*`bins` for continuous"),
        (np.hstack([FACTORS, np.full((120, 1), 3)]), "the value 3 for every example in column 3"),
    ],
)
def test_factors_that_make_no_sense_are_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        mig(posterior_of(AXES, STDS), factors, num_samples=120, key=jr.key(0))


def test_a_posterior_without_a_gap_to_measure_is_refused():
    with pytest.raises(ValueError, match="2 latents or more"):
        mig(posterior_of(AXES[:, :1], 1.0), FACTORS, num_samples=120, key=jr.key(0))
    full = jax.vmap(lambda m: dist.MultivariateNormal(m, jnp.eye(5)))(jnp.asarray(AXES, float))
    with pytest.raises(ValueError, match="independent given x"):
        mig(full, FACTORS, num_samples=120, key=jr.key(0))
    with pytest.raises(ValueError, match="`batch_size` must be 1 or more, got 0"):
        mig(posterior_of(AXES, STDS), FACTORS, batch_size=0, key=jr.key(0))
