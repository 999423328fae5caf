"""Relaxed categorical distributions: limits, normalisation, and NumPyro's binary one."""

from math import factorial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.sampling import (
    ExpRelaxedOneHotCategorical,
    RelaxedOneHotCategorical,
    Reparameterised,
    expectation,
)

PROBS = jnp.array([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 5.0])
def test_samples_have_the_distribution_of_the_categorical_at_every_temperature(temperature, key):
    n = 100_000
    y = RelaxedOneHotCategorical(temperature, probs=PROBS).sample(key, (n,))
    np.testing.assert_allclose(jnp.sum(y, axis=-1), 1, rtol=1e-12)
    share = jnp.mean(jax.nn.one_hot(jnp.argmax(y, axis=-1), 4), axis=0)
    # Gumbel-max, to 4 standard errors.
    assert bool(jnp.all(jnp.abs(share - PROBS) < 4 * jnp.sqrt(PROBS * (1 - PROBS) / n)))
    # Measured apart with 400,000 draws: the mean of the sample and of its largest entry.
    means = {0.1: (0.101, 0.201, 0.299, 0.399), 5.0: (0.213, 0.244, 0.264, 0.279)}
    largest = {0.1: 0.95, 0.5: 0.77, 1.0: 0.61, 5.0: 0.33}
    if temperature in means:
        np.testing.assert_allclose(jnp.mean(y, axis=0), means[temperature], atol=0.006)
    assert float(jnp.mean(jnp.max(y, axis=-1))) == pytest.approx(largest[temperature], abs=0.01)


@pytest.mark.parametrize(("temperature", "within"), [(0.7, 1e-2), (1.0, 1e-3), (2.0, 1e-3)])
def test_the_density_integrates_to_one(temperature, within):
    side = 400
    grid = (np.arange(side) + 0.5) / side
    a, b = np.meshgrid(grid, grid)
    inside = a + b < 1 - 1e-9
    # The mid-points of cells on the diagonal are worth half a cell.
    weight = np.where(np.isclose(a + b, 1), 0.5, 1.0)
    y = np.stack([a, b, np.where(inside, 1 - a - b, 1 / side / 6)], axis=-1)
    q = RelaxedOneHotCategorical(temperature, probs=jnp.array([0.2, 0.5, 0.3]))
    p = np.where(inside, np.exp(q.log_prob(jnp.asarray(y))), 0.0)
    edge = np.isclose(a + b, 1)
    p = np.where(edge, np.exp(q.log_prob(jnp.asarray(y / y.sum(-1, keepdims=True)))), p)
    assert float((p * weight).sum() / side**2) == pytest.approx(1, abs=within)


def test_two_classes_are_numpyros_relaxed_bernoulli(key):
    temperature, logits = 0.6, jnp.array([0.7, -0.4])
    y = jr.uniform(key, (50,), minval=0.001, maxval=0.999)
    pair = jnp.stack([y, 1 - y], axis=-1)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        peer = dist.RelaxedBernoulliLogits(temperature, logits[0] - logits[1]).log_prob(y)
    found = RelaxedOneHotCategorical(temperature, logits).log_prob(pair)
    np.testing.assert_allclose(found, peer, rtol=1e-9)
    log_space = ExpRelaxedOneHotCategorical(temperature, logits).log_prob(jnp.log(pair))
    np.testing.assert_allclose(found, log_space - jnp.sum(jnp.log(pair), axis=-1), rtol=1e-12)


def test_the_log_density_is_the_papers_formula_whatever_the_normalisation(key):
    tau, logits = 0.8, jr.normal(key, (5,))
    y = np.asarray(jax.nn.softmax(jr.normal(jr.fold_in(key, 1), (5,))))
    pi = np.exp(np.asarray(logits))
    density = factorial(4) * tau**4 * np.sum(pi * y**-tau) ** -5 * np.prod(pi * y ** -(tau + 1))
    for shift in (0.0, 100.0):
        q = RelaxedOneHotCategorical(tau, logits + shift)
        assert float(q.log_prob(jnp.asarray(y))) == pytest.approx(np.log(density))


@pytest.mark.parametrize("family", [RelaxedOneHotCategorical, ExpRelaxedOneHotCategorical])
def test_they_batch_and_gradients_flow_through_samples(family, key):
    logits, temperature = jr.normal(key, (2, 3)), jnp.array([0.5, 2.0])
    q = family(temperature, logits)
    assert (q.batch_shape, q.event_shape, q.has_rsample) == ((2,), (3,), True)
    z = jax.jit(lambda q: q.sample(key, (4,)))(q)
    rows = [family(temperature[i], logits[i]).log_prob(z[:, i]) for i in range(2)]
    np.testing.assert_allclose(q.log_prob(z), jnp.stack(rows, axis=-1), rtol=1e-12)
    vmapped = jax.vmap(family)(temperature, logits)
    found = jax.vmap(lambda q, z: q.log_prob(z))(vmapped, z[0])
    np.testing.assert_allclose(found, q.log_prob(z)[0], rtol=1e-12)

    def loss(t, logits):
        q = family(t, logits)
        f = lambda z, q: jnp.sum(jnp.cos(z)) + jnp.sum(q.log_prob(z))
        return expectation(f, q, estimator=Reparameterised(), key=key)

    step = 1e-6
    slope = jax.grad(loss)(temperature, logits)
    difference = (loss(temperature + step, logits) - loss(temperature - step, logits)) / (2 * step)
    assert float(jnp.sum(slope)) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("temperature", [1e-3, 10.0])
def test_nothing_is_nan_at_the_extremes(dtype, temperature, key):
    logits = jnp.array([1e4, -1e4, 0.0, 1e4], dtype)

    def loss(logits):
        q = ExpRelaxedOneHotCategorical(temperature, logits)
        soft = RelaxedOneHotCategorical(temperature, logits)
        r = q.sample(key)
        return jnp.sum(jnp.exp(r)) + q.log_prob(r) + soft.log_prob(soft.sample(key))

    value, slope = jax.value_and_grad(loss)(logits)
    assert bool(jnp.isfinite(value)), value
    assert bool(jnp.all(jnp.isfinite(slope))), slope


def test_a_temperature_that_is_not_positive_is_refused():
    for wrong in (0.0, -1.0):
        with pytest.raises(ValueError, match=r"`temperature` must be positive.*OneHotCategorical"):
            RelaxedOneHotCategorical(wrong, PROBS)
