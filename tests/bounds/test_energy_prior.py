"""A prior of unknown mass: bounds that know it, annealing from its base, and its training."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from pullback.bounds import (
    ELBO,
    HMC,
    SUMO,
    EnergyPrior,
    ImportanceWeighted,
    LatentModel,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    kl_divergence,
    log_normaliser_of,
    sigmoid_schedule,
)
from pullback.calculus import Geometric
from pullback.models.vae import BoundLoss, Normal, batch_terms, mlp_vae
from pullback.sampling import PathDerivative, StandardNormal
from pullback.train import fit

pytestmark = pytest.mark.usefixtures("promotion")

X, MEAN, VAR = 2.0, 1.0, 0.5
EVIDENCE = float(dist.Normal(MEAN, (VAR + 1) ** 0.5).log_prob(X))


def energy(shift: Any = 3.7, mean: Any = MEAN):
    return lambda z: shift - jnp.sum((z - mean) ** 2) / (2 * VAR)


def model(prior):
    return LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(X), prior)


POSTERIOR = dist.Normal((X * VAR + MEAN) / (VAR + 1), (VAR / (VAR + 1)) ** 0.5)
BASE = dist.Normal(0.0, 1.5)


def test_its_mass_is_bounded_from_both_sides(key):
    truth = 3.7 + 0.5 * np.log(2 * np.pi * VAR)
    run = jax.jit(jax.vmap(lambda k: EnergyPrior(energy(), BASE, draws=32).log_normaliser(key=k)))
    lower, upper = (np.asarray(part) for part in run(jr.split(key, 4000)))
    assert lower.mean() < truth < upper.mean()
    assert upper.mean() - lower.mean() < 0.1
    error = np.exp(lower - truth).std() / len(lower) ** 0.5
    assert abs(np.exp(lower - truth).mean() - 1) < 4 * error  # the mean weight has no bias
    # Weights that are all the same leave nothing between the two.
    same = log_normaliser_of(jnp.full(8, 2.5))
    np.testing.assert_allclose(same, 2.5, rtol=1e-12)
    # Draws that all miss an energy within walls say nothing of how much there is.
    for compiled in (log_normaliser_of, jax.jit(log_normaliser_of)):
        assert compiled(jnp.array([-jnp.inf, 0.0])).upper == jnp.inf
        assert compiled(jnp.full(2, -jnp.inf)).upper == jnp.inf
    with pytest.raises(ValueError, match="`log_weights` must be two or more, got 1"):
        log_normaliser_of(jnp.zeros(1))


@pytest.mark.parametrize("bound", [ELBO(), ImportanceWeighted(4), SUMO(Geometric(0.5, cap=4))])
def test_bounds_stay_below_the_evidence_whatever_is_added_to_the_energy(bound, key):
    def value(shift, key):
        return bound(model(EnergyPrior(energy(shift), BASE)), POSTERIOR, key=key)

    run = jax.jit(jax.vmap(value, in_axes=(None, 0)))
    found = np.asarray(run(0.0, jr.split(key, 2000)))
    error = found.std() / len(found) ** 0.5
    assert found.mean() < EVIDENCE + 4 * error
    assert found.mean() > EVIDENCE - 0.02
    np.testing.assert_allclose(run(40.0, jr.split(key, 2000)), found, atol=1e-9)
    np.testing.assert_allclose(value(0.0, jr.split(key, 2000)[0]), found[0], rtol=1e-9)


def test_the_gradient_reaches_the_energy_less_that_of_its_mass(key):
    # log p(x) = log N(x; m, 3/2), so its slope by m is (x - m) / 1.5; by a constant it is 0.
    def value(params, key):
        prior = EnergyPrior(energy(*params), BASE, draws=512)
        return ELBO()(model(prior), POSTERIOR, key=key)

    run = jax.jit(jax.vmap(jax.grad(value), in_axes=(None, 0)))
    by_shift, by_mean = run((jnp.asarray(0.3), jnp.asarray(MEAN)), jr.split(key, 1000))
    np.testing.assert_allclose(by_shift, 0.0, atol=1e-9)
    error = by_mean.std() / len(by_mean) ** 0.5
    assert abs(by_mean.mean() - (X - MEAN) / 1.5) < 4 * error


@pytest.mark.parametrize("batch_size", [None, 32])
def test_annealing_brackets_the_evidence(batch_size, key):
    # Exact samples of the posterior, as the z that x was simulated from is one.
    z = np.asarray(POSTERIOR.sample(key, (16,)))
    run = jax.jit(jax.vmap(lambda z, k: bidirectional_monte_carlo(
        model(EnergyPrior(energy(), BASE)), sigmoid_schedule(100), z,
        num_chains=64, transition=HMC(0.5, 3), batch_size=batch_size, key=k,
    )))  # fmt: skip
    found = run(z, jr.split(key, 16))
    errors = [4 * side.std() / len(side) ** 0.5 for side in found]
    assert found.lower.mean() < EVIDENCE + errors[0]
    assert found.upper.mean() > EVIDENCE - errors[1]
    assert abs(found.width.mean()) < 0.1
    forward = annealed_importance_sampling(
        model(EnergyPrior(energy(), BASE)), sigmoid_schedule(60), transition=HMC(0.5, 3), key=key
    )
    weights = jax.nn.logsumexp(forward.log_weights) - np.log(64)
    np.testing.assert_allclose(weights, forward.log_evidence, rtol=1e-9)
    with pytest.raises(ValueError, match="`num_chains` must be 2 or more with an `EnergyPrior`"):
        annealed_importance_sampling(
            model(EnergyPrior(energy(), BASE)), sigmoid_schedule(3), num_chains=1, key=key
        )


def test_each_side_of_the_sandwich_pays_for_the_mass(key):
    """Where a likelihood undoes the tilt the evidence is 1 / Z: what is off is the mass alone."""
    prior = EnergyPrior(energy(), BASE)
    undone = LatentModel(lambda z: -prior.tilt(z), prior)
    z = BASE.sample(key, (10_000,))  # the exact posterior
    found = jax.jit(jax.vmap(lambda z, k: bidirectional_monte_carlo(
        undone, jnp.array([0.0, 1.0]), z, num_chains=32, transition=HMC(0.1, 1), key=k,
    )))(z, jr.split(key, 10_000))  # fmt: skip
    evidence = -3.7 - 0.5 * np.log(2 * np.pi * VAR)
    lower, upper = (np.asarray(side) for side in found)
    assert lower.mean() + 4 * lower.std() / len(lower) ** 0.5 < evidence
    assert upper.mean() - 4 * upper.std() / len(upper) ** 0.5 > evidence


def test_samples_are_picked_by_their_weight(key):
    z = jax.jit(lambda k: EnergyPrior(energy(), BASE).sample(k, (40, 50)))(key)
    assert z.shape == (40, 50)
    assert abs(z.mean() - MEAN) < 4 * (VAR / z.size) ** 0.5
    assert abs(z.var() - VAR) < 4 * VAR * (2 / z.size) ** 0.5
    pairs = EnergyPrior(energy(mean=jnp.zeros(2)), StandardNormal(2)).sample(key, (3,))
    assert pairs.shape == (3, 2)


def test_what_needs_its_mass_in_closed_form_is_refused(key):
    prior = EnergyPrior(energy(), BASE)
    with pytest.raises(ValueError, match="no closed form"):
        ELBO("analytic")(model(prior), POSTERIOR, key=key)
    for wrong in (prior.log_prob, model(prior), lambda z: kl_divergence(POSTERIOR, prior)):
        with pytest.raises(ValueError, match=r"known up to its mass|no closed form"):
            wrong(jnp.asarray(0.0))
    with pytest.raises(ValueError, match="`draws` must be 2 or more"):
        EnergyPrior(energy(), BASE, draws=1)
    with pytest.raises(ValueError, match=r"`base` must be .* lacks `sample\(key, shape\)`"):
        EnergyPrior(energy(), dist.ImproperUniform(dist.constraints.real, (), ()))
    half = EnergyPrior(energy(), dist.HalfNormal(1.0))
    with pytest.raises(ValueError, match="support must lie in the prior's"):
        ELBO()(model(half), POSTERIOR, key=key)


class Tilted(eqx.Module):
    """A bounded network added to a standard normal's log-density."""

    net: eqx.nn.MLP

    def __call__(self, z):
        return 3.0 * jnp.tanh(self.net(z)[0]) + StandardNormal(2).log_prob(z)


def test_a_vae_trains_it_and_every_score_knows_its_mass(key):
    prior = EnergyPrior(Tilted(eqx.nn.MLP(2, 1, 16, 1, key=key)), StandardNormal(2), draws=128)
    vae = mlp_vae(2, latent=2, width=16, likelihood=Normal(0.5), prior=prior, key=key)
    # Two clusters far apart, which a standard normal of latents has no gap for.
    sign = jr.rademacher(key, (300, 1), float)
    x = 3.0 * sign + 0.5 * jr.normal(jr.fold_in(key, 1), (300, 2))
    loss = BoundLoss(ELBO(), PathDerivative())
    trained, _ = fit(
        vae, loss, x, optimiser=optax.adam(1e-2), steps=400, batch_size=60, progress=False, key=key
    )
    moved = trained.prior.log_density.net.layers[0].weight - prior.log_density.net.layers[0].weight
    assert jnp.max(jnp.abs(moved)) > 0.01

    def scores(vae, key):
        terms = batch_terms(vae, x, kl="sampled", num_samples=8, key=key)
        weighted = jax.vmap(lambda x, k: vae.log_prob(x, samples=200, key=k))
        return jnp.mean(-terms.distortion - terms.rate), jnp.mean(weighted(x, jr.split(key, 300)))

    run = eqx.filter_jit(scores)
    elbo, evidence = run(trained, key)
    # 3 nats more in the energy change no score: the mass takes them out.
    louder = eqx.tree_at(
        lambda v: v.prior.log_density, trained, lambda z, g=trained.prior.log_density: g(z) + 3.0
    )
    np.testing.assert_allclose(run(louder, key), (elbo, evidence), atol=1e-6)
    near = [jnp.sum(dist.Normal(c, 0.5).log_prob(x), axis=1) for c in (3.0, -3.0)]
    truth = jnp.mean(jnp.logaddexp(*near) - jnp.log(2.0))
    assert elbo < evidence < truth + 0.1
    assert vae.sample(key, (3,)).shape == (3, 2)
    with pytest.raises(ValueError, match="no closed form"):
        batch_terms(vae, x, key=key)


def test_few_draws_leave_a_bound_that_is_low_and_not_high(key):
    # The posterior is exact, so all that is off the evidence is the estimate of the log-mass.
    value = lambda k: ELBO()(model(EnergyPrior(energy(), BASE, draws=32)), POSTERIOR, key=k)
    found = np.asarray(jax.jit(jax.vmap(value))(jr.split(key, 20_000)))
    assert found.mean() + 4 * found.std() / len(found) ** 0.5 < EVIDENCE
