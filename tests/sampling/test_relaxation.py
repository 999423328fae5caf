"""Relaxed samples: their distributions, their conditionals, and the gradients of these."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from discrete_problems import BINARY, ONE_HOT

from pullback.sampling import OneHotCategorical, Replicated, relaxed_sample
from pullback.sampling._discrete import Discrete
from pullback.sampling._relaxation import relaxation_noise, relaxed_from

FAMILIES = {"binary": (dist.BernoulliLogits, BINARY), "one_hot": (OneHotCategorical, ONE_HOT)}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def test_both_scores_have_one_distribution_and_one_joint_distribution_with_the_sample(family, key):
    build, logits = family
    n = 100_000
    b, z, z_tilde = jax.jit(jax.vmap(lambda k: relaxed_sample(build(logits), key=k)))(
        jr.split(key, n)
    )
    one_hot = logits.ndim == 2
    if one_hot:
        np.testing.assert_array_equal(jnp.argmax(b, axis=-1), jnp.argmax(z_tilde, axis=-1))
        p = jax.nn.softmax(logits)
        mean, std = jnp.log(p) + np.euler_gamma, np.pi / np.sqrt(6)
    else:
        np.testing.assert_array_equal(b == 1, z_tilde > 0)
        p = jax.nn.sigmoid(logits)
        mean, std = logits, np.pi / np.sqrt(3)
    assert bool(jnp.all(jnp.abs(jnp.mean(b, 0) - p) < 4 * jnp.sqrt(p * (1 - p) / n)))
    for scores in (z, z_tilde):
        assert bool(jnp.all(jnp.abs(jnp.mean(scores, 0) - mean) < 4 * std / np.sqrt(n)))
        # The kurtosis of both noises is below 5.5: the variance of a variance.
        slack = 4 * np.sqrt(4.5 / n)
        assert bool(jnp.all(jnp.abs(jnp.var(scores, 0) / std**2 - 1) < slack))
    # Given the sample too: the means of z and of z_tilde within each outcome, by paired sums.
    gap = b * (z - z_tilde)
    assert bool(jnp.all(jnp.abs(jnp.mean(gap, 0)) < 4 * jnp.std(gap, 0) / np.sqrt(n)))


def test_the_binary_conditional_is_the_papers(key):
    distribution = Discrete(BINARY, False)
    noise = relaxation_noise(distribution, key)
    u, v = (jax.nn.sigmoid(n) for n in noise)

    def papers(logits, b):
        theta = jax.nn.sigmoid(logits)
        moved = jnp.where(b == 1, v * theta + 1 - theta, v * (1 - theta))
        return logits + jnp.log(moved) - jnp.log1p(-moved)

    b, z, z_tilde = relaxed_from(distribution, *noise)
    np.testing.assert_allclose(z, BINARY + jnp.log(u) - jnp.log1p(-u), rtol=1e-9)
    np.testing.assert_allclose(z_tilde, papers(BINARY, b), rtol=1e-9)
    found = jax.jacobian(lambda x: relaxed_from(Discrete(x, False), *noise).z_tilde)(BINARY)
    np.testing.assert_allclose(found, jax.jacobian(papers)(BINARY, b), rtol=1e-7, atol=1e-12)


def test_the_one_hot_conditional_is_the_papers_whatever_the_normalisation(key):
    distribution = Discrete(ONE_HOT, True)
    noise = relaxation_noise(distribution, key)
    v = jnp.exp(-jnp.exp(-noise[1]))

    def papers(logits, b):
        theta = jax.nn.softmax(logits)
        chosen = jnp.sum(b * jnp.log(v), axis=-1, keepdims=True)
        other = -jnp.log(-jnp.log(v) / theta - chosen)
        return jnp.where(b == 1, -jnp.log(-jnp.log(v)), other)

    b, z, z_tilde = relaxed_from(distribution, *noise)
    np.testing.assert_allclose(z, jax.nn.log_softmax(ONE_HOT) + noise[0], rtol=1e-12)
    np.testing.assert_allclose(z_tilde, papers(ONE_HOT, b), rtol=1e-9)
    found = jax.jacobian(lambda x: relaxed_from(Discrete(x, True), *noise).z_tilde)(ONE_HOT)
    np.testing.assert_allclose(found, jax.jacobian(papers)(ONE_HOT, b), rtol=1e-7, atol=1e-12)
    moved = relaxed_from(Discrete(ONE_HOT + 7, True), *noise)
    np.testing.assert_allclose(moved.z_tilde, z_tilde, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("build", [dist.BernoulliLogits, OneHotCategorical])
def test_extreme_logits_give_finite_scores_and_gradients(build, dtype, key):
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype)

    def total(logits, key):
        b, z, z_tilde = relaxed_sample(build(logits), key=key)
        assert all(x.dtype == dtype for x in (b, z, z_tilde))
        return jnp.sum(z * z_tilde) + jnp.sum(z_tilde), (b, z_tilde)

    (_, (b, z_tilde)), slope = jax.vmap(jax.value_and_grad(total, has_aux=True), in_axes=(None, 0))(
        logits, jr.split(key, 200)
    )
    assert bool(jnp.all(jnp.isfinite(z_tilde)))
    assert bool(jnp.all(jnp.isfinite(slope)))
    if build is dist.BernoulliLogits:
        np.testing.assert_array_equal(b[:, 0, :2], jnp.broadcast_to(jnp.array([1, 0]), (200, 2)))


def test_replicated_draws_are_apart(key):
    sample = relaxed_sample(Replicated(OneHotCategorical(ONE_HOT), 50), key=key)
    assert sample.z_tilde.shape == (50, 2, 3)
    assert len(np.unique(sample.z[:, 0, 0])) == 50


def test_other_distributions_are_refused(key):
    with pytest.raises(ValueError, match=r"relaxed_sample.*OneHotCategorical"):
        relaxed_sample(dist.Categorical(logits=BINARY), key=key)
