"""Stein's operator: against a dense Jacobian, and by the identities that it is made for."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from pullback.calculus import (
    HollowDivergence,
    HutchinsonDivergence,
    hyvarinen_objective,
    stein_operator,
    stein_terms,
)

MATRIX = jr.normal(jr.key(3), (3, 3))
CENTRES = jnp.array([[1.0, 0.0, -1.0], [-1.0, 2.0, 0.0]])
N = 100_000


def f(x):
    return jnp.tanh(MATRIX @ x) + 0.3 * x[::-1]


def gaussian(x, mean=0.0, variance=1.0):
    return -jnp.sum((x - mean) ** 2) / (2 * variance)


def mixture(x):
    return logsumexp(
        -jnp.sum((x[None] - CENTRES) ** 2, axis=1) / 2 + jnp.log(jnp.array([0.3, 0.7]))
    )


def mixture_draws(key):
    which, noise = jr.split(key)
    return CENTRES[jr.bernoulli(which, 0.7, (N,)).astype(int)] + jr.normal(noise, (N, 3))


def values(log_density, x):
    one = lambda x: stein_operator(f, jax.grad(log_density), x)
    return np.asarray(jax.jit(jax.vmap(one))(x))


def within_four_errors(sample, expected=0.0):
    return abs(sample.mean() - expected) < 4 * sample.std() / np.sqrt(len(sample))


def test_it_is_the_score_along_the_field_plus_the_dense_trace():
    for x in jr.normal(jr.key(0), (3, 3)):
        want = np.asarray(jax.grad(mixture)(x)) @ np.asarray(f(x)) + np.trace(jax.jacfwd(f)(x))
        np.testing.assert_allclose(stein_operator(f, jax.grad(mixture), x), want, rtol=1e-12)


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_its_mean_under_the_density_is_zero(name, key):
    log_density, x = {
        "gaussian": (gaussian, jr.normal(key, (N, 3))),
        "mixture": (mixture, mixture_draws(key)),
    }[name]
    found = values(log_density, x)
    assert found.std() > 0.5
    assert within_four_errors(found)


def test_its_mean_under_another_density_is_the_gap_of_the_scores_along_the_field(key):
    """Also tells a wrong sign of the trace, which the identity under q does too."""
    x = mixture_draws(key)
    q = lambda x: gaussian(x, 0.5, 2.0)
    gap = jax.jit(jax.vmap(lambda x: jnp.vdot(jax.grad(q)(x) - jax.grad(mixture)(x), f(x))))(x)
    found = values(q, x)
    assert within_four_errors(found - np.asarray(gap))
    assert abs(found.mean()) > 20 * found.std() / np.sqrt(N)


def test_terms_of_a_batch_are_those_of_its_points_however_they_are_cut(key):
    x = jr.normal(key, (7, 3))
    scores = jax.vmap(jax.grad(mixture))(x)
    whole, cut = (jax.jit(lambda s=s: stein_terms(f, scores, x, batch_size=s))() for s in (None, 3))
    want = [stein_operator(f, jax.grad(mixture), each) for each in x]
    np.testing.assert_allclose(whole.operator, want, rtol=1e-12)
    np.testing.assert_allclose(whole.square, jnp.sum(jax.vmap(f)(x) ** 2, axis=1), rtol=1e-12)
    np.testing.assert_allclose(cut, whole, rtol=1e-12)


def test_noise_is_fresh_at_every_point_and_right_on_average(key):
    x = jnp.tile(jnp.array([[0.3, -0.2, 0.5]]), (20_000, 1))
    scores = jnp.zeros_like(x)
    found = jax.jit(
        lambda key: stein_terms(f, scores, x, divergence=HutchinsonDivergence(), key=key).operator
    )(key)
    assert within_four_errors(np.asarray(found), np.trace(jax.jacfwd(f)(x[0])))
    assert found.std() > 0.1


def test_a_field_that_has_its_own_divergence_is_asked_for_it():
    class Cubes:
        def with_divergence(self, x):
            return x**3, 3 * jnp.sum(x**2)

    x = jnp.array([1.0, 2.0])
    found = stein_operator(Cubes(), lambda x: -x, x, HollowDivergence())
    assert float(found) == -17 + 15


def test_hyvarinen_is_half_the_fisher_divergence_less_a_constant_of_the_data():
    """By quadrature over a Gaussian mixture on the line, for two models."""
    grid = jnp.linspace(-12, 12, 4001)[:, None]
    data = lambda x: logsumexp(-((x[0] - jnp.array([-1.0, 2.0])) ** 2) / 2)
    weight = jnp.exp(jax.vmap(data)(grid))
    weight = weight / jnp.sum(weight)
    mean = lambda g: jnp.sum(weight * jax.vmap(g)(grid))
    own = jax.grad(data)
    constant = mean(lambda x: jnp.sum(own(x) ** 2)) / 2
    for model in (lambda x: gaussian(x, 0.3, 2.0), lambda x: -jnp.sum(jnp.cosh(x / 3))):
        score = jax.grad(model)
        fisher = mean(lambda x, score=score: jnp.sum((score(x) - own(x)) ** 2)) / 2
        found = mean(lambda x, score=score: hyvarinen_objective(score, x))
        np.testing.assert_allclose(found, fisher - constant, rtol=1e-8)


def test_sliced_score_matching_is_right_on_average(key):
    x, method = jnp.array([0.4, -1.0, 0.3]), HutchinsonDivergence("gaussian")
    one = lambda key: hyvarinen_objective(f, x, method, method.probe(x, key=key))
    found = np.asarray(jax.jit(jax.vmap(one))(jr.split(key, 20_000)))
    assert within_four_errors(found, float(hyvarinen_objective(f, x)))


def test_a_log_density_in_place_of_a_score_is_refused():
    with pytest.raises(ValueError, match=r"`score` must give one number for each entry.*jax.grad"):
        stein_operator(f, gaussian, jnp.zeros(3))
