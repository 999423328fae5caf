"""The posterior that importance weighting implies: enumerated, and on a grid."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.bounds import (
    ImportanceWeighted,
    ImportanceWeightedPosterior,
    effective_sample_size,
    implied_posterior_density,
    leave_one_out_bounds,
)
from pullback.sampling import log_mean_exp

pytestmark = pytest.mark.usefixtures("promotion")

LOG_P = np.log([0.1, 0.5, 0.2])  # p(x, z) of three states, unnormalised
Q = np.array([0.6, 0.1, 0.3])


def of_states(k):
    log_joint = lambda z: jnp.asarray(LOG_P)[z]
    return ImportanceWeightedPosterior(log_joint, dist.Categorical(probs=jnp.asarray(Q)), k)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_of_three_states_everything_is_enumerated(k, key):
    posterior, w = of_states(k), np.exp(LOG_P) / Q
    resampled, bound, density = np.zeros(3), 0.0, np.zeros(3)
    for z in itertools.product(range(3), repeat=k):
        share = np.prod(Q[list(z)])
        bound += share * np.log(np.mean(w[list(z)]))
        for one in z:
            resampled[one] += share * w[one] / np.sum(w[list(z)])
    given = jax.jit(jax.vmap(posterior.log_prob_given, in_axes=(None, 0)))
    others = np.array(list(itertools.product(range(3), repeat=k - 1)), int).reshape(
        3 ** (k - 1), k - 1
    )
    shares = np.prod(Q[others], axis=1)
    for z in range(3):
        density[z] = shares @ np.exp(given(jnp.asarray(z), jnp.asarray(others)))
    # The mean of the unnormalised densities is the distribution of resampling, which is a density.
    np.testing.assert_allclose(density, resampled, rtol=1e-12)
    np.testing.assert_allclose(density.sum(), 1, rtol=1e-12)
    elbo = density @ (LOG_P - np.log(density))
    assert bound <= elbo + 1e-12
    assert elbo <= np.log(np.sum(np.exp(LOG_P)))
    assert (k == 1) == (abs(bound - elbo) < 1e-9)
    draws = np.bincount(posterior.sample(key, (40_000,)), minlength=3) / 40_000
    assert np.all(np.abs(draws - density) < 4 * np.sqrt(density * (1 - density) / 40_000))


GRID = jnp.linspace(-8, 8, 801)
TARGET = dist.MixtureSameFamily(
    dist.Categorical(probs=jnp.array([0.6, 0.4])),
    dist.Normal(jnp.array([-1.5, 2.0]), jnp.array([0.5, 0.6])),
)
PROPOSAL = dist.Normal(0.0, 1.8)


def bimodal(k):
    log_joint = lambda z: jnp.log(0.3) + TARGET.log_prob(z)
    return ImportanceWeightedPosterior(log_joint, PROPOSAL, k)


# k: the bound, the ELBO of the implied posterior, its total variation from the exact one (sheet).
BIMODAL = {1: (-2.36, -2.390, 0.441), 2: (-1.651, -1.492, 0.260), 5: (-1.338, -1.235, 0.094),
           10: (-1.258, -1.203, 0.041), 50: (-1.215, -1.206, 0.007),
           200: (-1.207, -1.205, 0.002)}  # fmt: skip


@pytest.mark.parametrize(
    "k", [pytest.param(k, marks=[pytest.mark.slow] if k in (2, 10, 50) else []) for k in BIMODAL]
)
def test_two_modes_of_the_paper_on_a_grid(k, key):
    bound, elbo, variation = BIMODAL[k]
    sets, draws = jr.split(key)
    posterior = bimodal(k)
    density = implied_posterior_density(
        posterior, GRID, num_sets=4000 if k >= 50 else 20_000, batch_size=1000, key=sets
    )
    mass = jnp.trapezoid(density, GRID)
    assert abs(mass - 1) < 0.005
    found = jnp.trapezoid(density * (jax.vmap(posterior.log_joint)(GRID) - jnp.log(density)), GRID)
    apart = 0.5 * jnp.trapezoid(jnp.abs(density - jnp.exp(TARGET.log_prob(GRID))), GRID)
    assert abs(found + jnp.log(mass) - elbo) < 0.015
    assert abs(apart - variation) < 0.012
    draw = lambda key: ImportanceWeighted(k)(posterior.log_joint, PROPOSAL, key=key)
    values = jax.jit(jax.vmap(draw))(jr.split(draws, 20_000))
    error = np.std(values) / np.sqrt(20_000)
    assert abs(np.mean(values) - bound) < 4 * error + 0.02  # the sheet's own error
    assert np.mean(values) < found + jnp.log(mass) + 4 * error


@pytest.mark.parametrize("k", [1, 7])
def test_of_the_exact_posterior_nothing_is_left_to_gain(k, key):
    # All weights are p(x): the implied posterior is q, and every bound is log p(x) at every draw.
    exact = dist.Normal(0.7, 0.4)
    posterior = ImportanceWeightedPosterior(lambda z: exact.log_prob(z) - 2.5, exact, k)
    at = jnp.linspace(-1, 2, 31)
    density = implied_posterior_density(posterior, at, num_sets=3, key=key)
    np.testing.assert_allclose(density, jnp.exp(exact.log_prob(at)), rtol=1e-5)
    found = posterior.elbo(num_samples=50, num_sets=2, key=key)
    np.testing.assert_allclose(found, (-2.5, 0), atol=1e-5)
    bound = ImportanceWeighted(k)(posterior.log_joint, exact, num_samples=50, key=key)
    np.testing.assert_allclose(bound, -2.5, atol=1e-5)
    weights = jax.vmap(posterior.log_weight)(exact.sample(key, (k,)))
    np.testing.assert_allclose(effective_sample_size(weights), k, rtol=1e-5)


def test_at_one_sample_the_implied_posterior_is_the_proposal(key):
    density = implied_posterior_density(bimodal(1), GRID, num_sets=2, key=key)
    np.testing.assert_allclose(density, jnp.exp(PROPOSAL.log_prob(GRID)), rtol=1e-5)


def test_the_density_is_zero_where_the_target_or_the_proposal_is(key):
    # Neither weight is a number there.
    target, base = dist.Uniform(0.0, 1.0), dist.Uniform(0.5, 2.0)
    at = jnp.array([0.25, 0.75, 1.5])
    with jax.numpy_dtype_promotion("standard"):
        for k in (1, 4):
            posterior = ImportanceWeightedPosterior(target.log_prob, base, k)
            found = implied_posterior_density(posterior, at, num_sets=4000, key=key)
            # Of the k proposals each is in the target with probability 1/3.
            share = (1 - (2 / 3) ** k) / 0.5
            expected = [0, 2 / 3, 2 / 3] if k == 1 else [0, share, 0]
            np.testing.assert_allclose(found, expected, atol=0.05)


def test_draws_by_resampling_follow_the_density(key):
    sets, draws = jr.split(key)
    posterior = bimodal(5)
    density = implied_posterior_density(posterior, GRID, num_sets=20_000, batch_size=1000, key=sets)
    steps = (density[1:] + density[:-1]) / 2 * (GRID[1] - GRID[0])
    cdf = np.concatenate([[0], np.cumsum(steps)])
    z = np.sort(posterior.sample(draws, (20_000,)))
    distance = np.max(np.abs(np.interp(z, GRID, cdf) - (np.arange(20_000) + 0.5) / 20_000))
    assert distance < 0.013


def test_the_density_at_a_point_and_on_a_grid_agree_and_the_elbo_is_theirs(key):
    posterior = bimodal(5)
    at = jnp.array([-1.5, 0.3, 2.0])
    several = implied_posterior_density(posterior, at, num_sets=20_000, batch_size=1000, key=key)
    single = lambda z: posterior.log_prob_estimate(z, num_sets=20_000, key=jr.fold_in(key, 1))
    found = jax.jit(lambda at: jax.lax.map(single, at))(at)
    np.testing.assert_allclose(jnp.exp(found), several, rtol=0.05)
    found = posterior.elbo(num_samples=1000, num_sets=500, batch_size=250, key=key)
    assert abs(found.value + 1.235) < 4 * found.standard_error + 0.01
    one = bimodal(1)
    assert one.log_prob_estimate(at[0], num_sets=1, key=key) == pytest.approx(
        float(PROPOSAL.log_prob(at[0]))
    )


def test_functions_of_log_weights_against_loops():
    log_w = np.random.default_rng(0).normal(size=6) * 30
    w = np.exp(log_w - log_w.max())
    share = w / w.sum()
    np.testing.assert_allclose(
        effective_sample_size(jnp.asarray(log_w)), 1 / np.sum(share**2), rtol=1e-12
    )
    without = [np.logaddexp.reduce(np.delete(log_w, i)) - np.log(5) for i in range(6)]
    np.testing.assert_allclose(leave_one_out_bounds(jnp.asarray(log_w)), without, rtol=1e-12)
    # In float32 as well, where the sum of all less the largest would cancel.
    single = leave_one_out_bounds(jnp.asarray(log_w, jnp.float32))
    np.testing.assert_allclose(single, without, rtol=1e-5)
    assert np.mean(without) <= log_mean_exp(jnp.asarray(log_w))
    assert np.all(np.isfinite(jax.jacobian(leave_one_out_bounds)(jnp.asarray(log_w))))


def test_wrong_arguments_are_named(key):
    with pytest.raises(ValueError, match="`samples` must be 1 or more, got 0"):
        bimodal(0)
    with pytest.raises(ValueError, match="`num_sets` must be 1 or more, got 0"):
        bimodal(2).log_prob_estimate(jnp.array(0.0), num_sets=0, key=key)
    with pytest.raises(ValueError, match="`num_samples` must be 2 or more, got 1"):
        bimodal(2).elbo(num_samples=1, num_sets=1, key=key)
    with pytest.raises(ValueError, match="`log_weights` must be of 2 samples or more, got 1"):
        leave_one_out_bounds(jnp.zeros(1))
