"""What a user writes on top of the room, from its public names and their documentation alone."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback import bounds, sampling

WEIGHTS = jnp.array([1.0, -2.0, 0.5])
LOGITS = jnp.array([0.3, -0.2, 0.0])


class Baselined(sampling.AbstractEstimator):
    """The score function with a baseline that is a function of the distribution."""

    baseline: jax.Array

    @property
    def learned_parts(self):
        return self.baseline

    def __call__(self, f, q, keys, batch_size):
        def one(key):
            z = jax.lax.stop_gradient(sampling.draw(q, key))
            ratio = sampling.likelihood_ratio(sampling.log_prob(q, z))
            held = jax.lax.stop_gradient(self.baseline)
            return ratio * (f(z, q) - held) + held

        return jnp.mean(sampling.over_samples(one, keys, batch_size))


class Midpoint(sampling.AbstractEstimator):
    """The path derivative at a sample and at its mirror image, where the mean is known."""

    def __call__(self, f, q: Any, keys, batch_size):
        sampling.require_reparameterised(q, "Midpoint")

        def one(key):
            z = sampling.draw(q, key)
            return (f(z, q) + f(2 * q.mean - z, q)) / 2

        return jnp.mean(sampling.over_samples(one, keys, batch_size))


def spread(function, logits, n=64):
    """Mean and standard error of a function of a key."""
    found = eqx.filter_jit(jax.vmap(function, (None, 0)))(logits, jr.split(jr.key(1), n))
    return found.mean(axis=0), found.std(axis=0) / n**0.5


BASELINED = Baselined(jnp.asarray(0.7))


@pytest.mark.parametrize("batch_size", [None, 60])
def test_an_estimator_is_right_to_second_order(batch_size, promotion):
    def value(logits, key, estimator: Any = BASELINED):
        q: Any = dist.Bernoulli(logits=logits).to_event(1)
        f = lambda z, q: jnp.sum(z * WEIGHTS) ** 2
        return sampling.expectation(
            f, q, estimator=estimator, num_samples=100, batch_size=batch_size, key=key
        )

    exact = lambda logits: value(logits, jr.key(0), sampling.Enumeration())
    for order in (lambda f: f, jax.grad, jax.hessian):
        mean, error = spread(order(value), LOGITS)
        np.testing.assert_allclose(mean, order(exact)(LOGITS), atol=5 * np.max(error))
        assert np.max(error) < 0.12
    eager = jax.grad(value)(LOGITS, jr.key(3))
    np.testing.assert_allclose(jax.jit(jax.grad(value))(LOGITS, jr.key(3)), eager, atol=1e-12)


def test_an_estimator_through_the_sample_and_what_it_refuses(key, promotion):
    model = bounds.LatentModel(lambda z: dist.Normal(z, 1.0).log_prob(2.0), dist.Normal(0.0, 1.0))
    elbo = lambda mean: bounds.ELBO("analytic")(
        model, dist.Normal(mean, 0.5), estimator=Midpoint(), key=key
    )
    # Of (2 - m)^2 / 2 + m^2 / 2, without any noise: what is odd in it cancels.
    for run in (jax.grad(elbo), jax.jit(jax.grad(elbo))):
        np.testing.assert_allclose(run(0.3), 2 - 2 * 0.3, rtol=1e-12)
    np.testing.assert_allclose(jax.hessian(elbo)(0.3), -2, rtol=1e-12)
    with pytest.raises(ValueError, match="`estimator` Midpoint needs samples that gradients flow"):
        sampling.expectation(lambda z, q: z, dist.Poisson(1.0), estimator=Midpoint(), key=key)


class Spins(eqx.Module):
    """Independent zeros and ones, with samples that are floats and parts of its own."""

    field: jax.Array

    def as_discrete(self):
        return dist.Bernoulli(logits=2 * self.field).to_event(1)

    def sample(self, key, shape=()):
        return jnp.asarray(self.as_discrete().sample(key, shape)).astype(self.field.dtype)

    def log_prob(self, z) -> Any:
        return self.as_discrete().log_prob(z)


class Choice(eqx.Module):
    """One of three, one-hot."""

    scores: jax.Array

    def as_discrete(self):
        return sampling.OneHotCategorical(self.scores)

    def sample(self, key, shape=()):
        return jax.nn.one_hot(jr.categorical(key, self.scores, shape=shape), 3)

    def log_prob(self, z):
        return jnp.sum(z * jax.nn.log_softmax(self.scores))


NET = sampling.NeuralControlVariate(eqx.nn.MLP(3, "scalar", 4, 1, jnp.tanh, key=jr.key(2)))
UNBIASED = {
    "relax": sampling.Relax(NET),
    "rebar": sampling.rebar(),
    "score": sampling.ScoreFunction("leave_one_out"),
    "enumeration": sampling.Enumeration(),
}


@pytest.mark.parametrize("distribution", [Spins, Choice])
@pytest.mark.parametrize("name", UNBIASED)
def test_a_discrete_distribution_of_ones_own_is_taken_as_what_it_says_it_is(
    distribution, name, promotion
):
    f = lambda z, q: jnp.sum(z * WEIGHTS) ** 2 + jnp.sum(z)

    def value(params, key):
        return sampling.expectation(
            f, distribution(params), estimator=UNBIASED[name], num_samples=50, key=key
        )

    # In parts that no slope of a dependency is in: a logit is 0 here.
    mass = {
        Spins: lambda p, z: jnp.prod(jax.nn.sigmoid(2 * (2 * z - 1) * p)),
        Choice: lambda p, z: jnp.vdot(jax.nn.softmax(p), z),
    }[distribution]
    states = [np.array(np.unravel_index(i, (2, 2, 2)), float) for i in range(8)]
    states = states if distribution is Spins else list(np.eye(3))
    exact = lambda p: sum(mass(p, z) * f(jnp.asarray(z), None) for z in states)
    mean, error = spread(jax.grad(value), LOGITS, 100)
    np.testing.assert_allclose(mean, jax.grad(exact)(LOGITS), atol=5 * np.max(error) + 1e-12)
    assert np.max(error) < 0.1


def test_a_relaxed_bound_of_ones_own_distribution(key, promotion):
    model = lambda p: bounds.LatentModel(lambda z: jnp.sum(z * WEIGHTS), p)
    prior = dist.Bernoulli(probs=0.4).expand((3,)).to_event(1)

    def elbo(field, q, estimator):
        return bounds.ELBO("analytic")(
            model(prior), q(field), estimator=estimator, num_samples=2000, key=key
        )

    numpyro = lambda field: dist.Bernoulli(logits=2 * field).to_event(1)
    for estimator in (sampling.GumbelSoftmax(0.3), sampling.StraightThrough()):
        slope = eqx.filter_jit(eqx.filter_grad(elbo))
        found, want = (slope(LOGITS, q, estimator) for q in (Spins, numpyro))
        np.testing.assert_allclose(found, want, rtol=1e-12)
    kl = lambda p: bounds.kl_divergence(Spins(LOGITS), p)
    np.testing.assert_allclose(kl(prior), bounds.kl_divergence(numpyro(LOGITS), prior))
    np.testing.assert_allclose(kl(Spins(LOGITS)), 0, atol=1e-15)
    # At a logit of 0, where the slope that the distribution itself takes from NumPyro is 0 or 2.
    slope = jax.grad(lambda field: sampling.log_prob(Spins(field), jnp.ones(1)))
    np.testing.assert_allclose(slope(jnp.zeros(1)), [1.0])

    class Silent(eqx.Module):
        field: jax.Array

        def sample(self, key, shape=()):
            return (jr.uniform(key, (*shape, 3)) < jax.nn.sigmoid(self.field)).astype(float)

        def log_prob(self, z):
            return jnp.sum(z * self.field - jax.nn.softplus(self.field))

    with pytest.raises(ValueError, match=r"or give it a method `as_discrete\(\)`"):
        elbo(LOGITS, Silent, sampling.GumbelSoftmax(0.3))
