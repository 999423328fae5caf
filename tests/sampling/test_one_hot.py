"""One-hot categorical distributions and their divergence, against NumPyro and enumeration."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

from pullback.sampling import Enumeration, OneHotCategorical, categorical_kl, expectation

LOGITS = jnp.array([[0.3, -1.0, 2.0], [1.0, 1.0, -4.0]])


def test_log_probabilities_moments_and_entropy_are_numpyros():
    q = OneHotCategorical(LOGITS)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        peer = dist.CategoricalLogits(LOGITS)
        classes = peer.enumerate_support()
        np.testing.assert_allclose(q.log_prob(jnp.eye(3)[classes]), peer.log_prob(classes))
        np.testing.assert_allclose(q.entropy(), peer.entropy())
        np.testing.assert_allclose(q.mean, peer.probs)
    np.testing.assert_array_equal(q.enumerate_support(), jnp.eye(3)[classes])
    # p (1 - p), as the sum over outcomes.
    outcomes = q.enumerate_support()
    square = jnp.einsum("kbi,kb->bi", outcomes**2, jnp.exp(q.log_prob(outcomes)))
    np.testing.assert_allclose(q.variance, square - q.mean**2, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float64])
def test_samples_are_one_hot_with_the_right_frequencies(dtype, key):
    n = 40_000
    q = OneHotCategorical(LOGITS.astype(dtype))
    z = jax.jit(lambda q: q.sample(key, (n,)))(q)
    assert z.shape == (n, 2, 3)
    assert z.dtype == dtype
    assert bool(jnp.all(q.support(z)))
    p = jax.nn.softmax(q.logits.astype(float))
    # 4 standard errors of a frequency, and what bfloat16 scores make of ties.
    slack = 0.01 if dtype == jnp.bfloat16 else 0.0
    gap = jnp.abs(jnp.mean(z.astype(float), axis=0) - p)
    assert bool(jnp.all(gap < 4 * jnp.sqrt(p * (1 - p) / n) + slack))


def test_probabilities_may_be_zero_and_logits_minus_infinity():
    q = OneHotCategorical(probs=jnp.array([0.0, 0.25, 0.75]))
    np.testing.assert_allclose(q.probs, [0, 0.25, 0.75], atol=1e-30)
    # NumPyro's own check of logits refuses infinities.
    build = functools.partial(OneHotCategorical, validate_args=False)
    never = build(jnp.array([-jnp.inf, 0.0, 1.0]))

    def loss(logits):
        z = jnp.array([0.0, 1.0, 0.0])
        return build(logits).log_prob(z) + build(logits).entropy()

    assert bool(jnp.isfinite(loss(never.logits)))
    assert bool(jnp.all(jnp.isfinite(jax.grad(loss)(never.logits))))
    assert never.log_prob(jnp.array([1.0, 0.0, 0.0])) == -jnp.inf


def test_it_is_a_pytree_under_jit_vmap_and_grad(key):
    build = lambda logits: OneHotCategorical(logits)
    q = jax.vmap(build)(LOGITS)
    z = jax.vmap(lambda q: q.sample(key))(q)
    assert z.shape == (2, 3)
    found = jax.vmap(lambda q, z: q.log_prob(z))(q, z)
    np.testing.assert_allclose(found, OneHotCategorical(LOGITS).log_prob(z))
    slope = jax.jit(jax.grad(lambda q: jnp.sum(q.log_prob(z))))(OneHotCategorical(LOGITS))
    np.testing.assert_allclose(slope.logits, z - jax.nn.softmax(LOGITS))


def test_expectations_are_enumerated(key):
    table = jr.normal(key, (3, 3))
    f = lambda z, q: z[0] @ table @ z[1]
    p = jax.nn.softmax(LOGITS)
    found = expectation(f, OneHotCategorical(LOGITS), estimator=Enumeration(), key=key)
    assert float(found) == pytest.approx(float(p[0] @ table @ p[1]))


def test_the_divergence_is_a_sum_over_classes_and_has_no_nan():
    other = jnp.flip(LOGITS, axis=-1)
    p, q = jax.nn.softmax(other), jax.nn.softmax(LOGITS)
    found = categorical_kl(LOGITS, other)
    np.testing.assert_allclose(found, jnp.sum(q * jnp.log(q / p), axis=-1), rtol=1e-12)
    np.testing.assert_array_equal(categorical_kl(LOGITS, LOGITS), jnp.zeros(2))
    never = jnp.array([-jnp.inf, 0.0, 0.0])
    np.testing.assert_allclose(categorical_kl(never, never), 0, atol=1e-15)
    assert categorical_kl(jnp.zeros(3), never) == jnp.inf
    slope = jax.grad(categorical_kl, argnums=(0, 1))(never, jnp.zeros(3))
    assert bool(jnp.all(jnp.isfinite(jnp.stack(slope))))


def test_what_makes_no_distribution_is_refused():
    for wrong in ({}, {"logits": LOGITS, "probs": LOGITS}):
        with pytest.raises(ValueError, match="exactly one of `logits` and `probs`"):
            OneHotCategorical(**wrong)
    with pytest.raises(TypeError, match=r"key must be one random key of JAX.s, got None"):
        OneHotCategorical(jnp.zeros(3)).sample(None)
    with pytest.raises(ValueError, match="must have an axis of classes"):
        OneHotCategorical(jnp.asarray(0.0))
