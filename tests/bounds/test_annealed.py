"""Annealing on the linear-Gaussian model, whose evidence is known."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from conjugate import exact_posterior, log_evidence, model

from pullback.bounds import (
    HMC,
    LatentModel,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    reverse_annealing,
    sigmoid_schedule,
    tune_step_sizes,
)

pytestmark = pytest.mark.usefixtures("promotion")

STEP = HMC(0.6, 3)


def test_the_weights_are_unbiased_forward_and_back(key):
    # E[w] = p(x), and from an exact posterior sample E[w] = 1 / p(x).
    betas = sigmoid_schedule(10)
    forward, start, back = jr.split(key, 3)
    found = annealed_importance_sampling(
        model(), betas, num_chains=4000, transition=STEP, batch_size=1500, key=forward
    )
    ratio = np.exp(found.log_weights - log_evidence())
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(4000)
    assert 0.5 < found.accepted.min() < 1

    @jax.jit
    @jax.vmap
    def reverse(z, key):
        run = reverse_annealing(model(), betas, z, num_chains=1, transition=STEP, key=key)
        return run.log_weights[0]

    starts = exact_posterior().sample(start, (4000,))
    ratio = np.exp(reverse(starts, jr.split(back, 4000)) + log_evidence())
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(4000)


def test_a_transition_leaves_the_density_as_it_is(key):
    # From exact draws at beta = 1, ten times by way of nothing: moments stay the posterior's.
    # Not of two steps of 1: each is a quarter of a turn, and z goes to -z whatever is accepted.
    n = 4000
    z = exact_posterior().sample(key, (n,))
    stay = lambda z, key: reverse_annealing(
        model(), jnp.ones(11), z, num_chains=1, transition=HMC(0.7, 2), key=key
    ).samples[0]
    moved = jax.vmap(stay)(z, jr.split(jr.fold_in(key, 1), n))
    assert np.mean(np.any(moved != z, axis=1)) > 0.3
    exact = exact_posterior()
    error = np.sqrt(0.5 / n)
    assert np.all(np.abs(moved.mean(axis=0) - exact.mean) < 4 * error)
    assert np.all(np.abs(moved.var(axis=0) - 0.5) < 4 * 0.5 * np.sqrt(2 / n))


def test_the_sandwich_holds_the_evidence_and_narrows_with_the_temperatures(key):
    # On simulated data: z from the prior, x given z, each datum with its own model.
    data, chains = jr.split(key)
    # One chain: the mean of its log-weight falls short by about a constant over T.
    z = jr.normal(data, (400, 5))
    x = z + jr.normal(jr.fold_in(data, 1), (400, 5))

    def widths(steps):
        def one(x, z, key):
            found = bidirectional_monte_carlo(
                model(x=x), sigmoid_schedule(steps), z, num_chains=1, transition=STEP, key=key
            )
            truth = log_evidence(x=x)
            return found.lower - truth, found.upper - truth

        return jax.jit(jax.vmap(one))(x, z, jr.split(chains, 400))

    spans = []
    for steps in (8, 32):
        lower, upper = widths(steps)
        error = np.std(lower) / np.sqrt(400), np.std(upper) / np.sqrt(400)
        assert np.mean(lower) < 4 * error[0]
        assert np.mean(upper) > -4 * error[1]
        spans.append(np.mean(upper - lower))
    assert spans[1] < 0.5
    # About as 1 / T: a factor 4.
    assert 2.5 < spans[0] / spans[1] < 6


def test_step_sizes_are_tuned_to_the_target_and_then_frozen(key):
    betas = sigmoid_schedule(6)
    pilot, run = jr.split(key)
    tuned = tune_step_sizes(
        model(), betas, num_chains=200, leapfrog_steps=3, target=0.8, rounds=30, key=pilot
    )
    assert np.shape(tuned.step_size) == (6,)
    found = annealed_importance_sampling(model(), betas, num_chains=2000, transition=tuned, key=run)
    # Each one's standard error is at most 0.01, and the pilot's noise is larger.
    np.testing.assert_allclose(found.accepted, 0.8, atol=0.07)
    ratio = np.exp(found.log_weights - log_evidence())
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(2000)
    # Back, the sizes go with their temperatures.
    z = exact_posterior().sample(key)
    back = reverse_annealing(model(), betas, z, num_chains=2000, transition=tuned, key=run)
    np.testing.assert_allclose(back.accepted, 0.8, atol=0.12)


def test_wrong_arguments_are_named(key):
    one = LatentModel(lambda z: -(z**2), dist.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="`leapfrog_steps` must be 1 or more, got 0"):
        HMC(0.1, 0)
    with pytest.raises(ValueError, match="`steps` must be 1 or more, got 0"):
        sigmoid_schedule(0)
    with pytest.raises(ValueError, match="`betas` must be two or more"):
        annealed_importance_sampling(one, jnp.zeros(1), key=key)
    with pytest.raises(ValueError, match="`num_chains` must be 1 or more, got 0"):
        annealed_importance_sampling(one, sigmoid_schedule(3), num_chains=0, key=key)
    with pytest.raises(ValueError, match="`target` must be between 0 and 1, got 1"):
        tune_step_sizes(one, sigmoid_schedule(3), target=1.0, key=key)
