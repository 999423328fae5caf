"""Divergences against the dense Jacobian, and the estimators against their known variance."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback.calculus import (
    AbstractDivergence,
    ExactDivergence,
    HollowDivergence,
    HutchinsonDivergence,
)

MATRIX = jr.normal(jr.key(3), (4, 4))
Y = jnp.array([0.4, -1.0, 0.2, 0.9])
PROBES = 4096


def f(y):
    return jnp.sin(MATRIX @ y) * y


def estimates(method, f, y, key):
    """One estimate for each of `PROBES` independent probes."""
    one = lambda key: method(f, y, method.probe(y, key=key))[1]
    return np.asarray(jax.jit(jax.vmap(one))(jr.split(key, PROBES)))


@pytest.mark.parametrize("method", [ExactDivergence(), HutchinsonDivergence(samples=2)])
def test_every_method_returns_the_value_and_keeps_the_dtype(method, key):
    for dtype in (jnp.float32, jnp.float64):
        y = Y.astype(dtype)
        field = lambda y: jnp.tanh(y) * y
        value, divergence = method(field, y, method.probe(y, key=key))
        np.testing.assert_array_equal(value, field(y))
        assert value.dtype == divergence.dtype == dtype
        assert divergence.shape == ()


def test_exact_is_the_trace_of_the_dense_jacobian():
    exact: AbstractDivergence = ExactDivergence()
    ys = jr.normal(jr.key(0), (3, 4))
    found = jax.jit(jax.vmap(lambda y: exact(f, y, exact.probe(y, key=None))[1]))(ys)
    want = [jnp.trace(jax.jacfwd(f)(y)) for y in ys]
    np.testing.assert_allclose(found, want, rtol=1e-13)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_hutchinson_mean_and_variance(distribution, key):
    jacobian = np.asarray(jax.jacfwd(f)(Y))
    symmetric = (jacobian + jacobian.T) / 2
    variance = 2 * np.sum(symmetric**2)
    if distribution == "rademacher":
        variance -= 2 * np.sum(np.diag(symmetric) ** 2)
    sample = estimates(HutchinsonDivergence(distribution), f, Y, key)
    error = sample - np.trace(jacobian)
    # Both within 4 standard errors; that of the variance is from the sample's own fourth moment.
    assert abs(error.mean()) < 4 * np.sqrt(variance / PROBES)
    assert abs(np.mean(error**2) - variance) < 4 * np.std(error**2) / np.sqrt(PROBES)


def test_hutchinson_is_the_mean_over_its_probes(key):
    method = HutchinsonDivergence("gaussian", samples=3)
    probe = method.probe(Y, key=key)
    jacobian = np.asarray(jax.jacfwd(f)(Y))
    want = np.mean([np.asarray(e) @ jacobian @ np.asarray(e) for e in probe])
    np.testing.assert_allclose(method(f, Y, probe)[1], want, rtol=1e-12)


def test_rademacher_has_no_variance_on_a_diagonal_jacobian(key):
    sample = estimates(HutchinsonDivergence(), lambda y: y**3, Y, key)
    np.testing.assert_allclose(sample, 3 * np.sum(np.asarray(Y) ** 2), rtol=1e-13)


def test_gradient_of_the_exact_divergence_against_finite_differences():
    divergence = jax.jit(lambda y: ExactDivergence()(f, y)[1])
    gradient = jax.jit(jax.grad(divergence))(Y)
    h = 1e-5
    slopes = [(divergence(Y + h * e) - divergence(Y - h * e)) / (2 * h) for e in jnp.eye(4)]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-7, atol=1e-9)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="needs `key`"):
        HutchinsonDivergence().probe(Y, key=None)
    with pytest.raises(ValueError, match="`samples` must be 1 or more"):
        HutchinsonDivergence(samples=0)
    with pytest.raises(ValueError, match="one of the same size"):
        ExactDivergence()(lambda y: y[:2], Y)


def test_hollow_takes_what_the_field_finds_itself():
    class Known:
        def with_divergence(self, y):
            return y**2, jnp.asarray(7.0)

    method = HollowDivergence()
    assert method.probe(Y, key=None) is None
    value, divergence = method(Known(), Y, None)
    np.testing.assert_array_equal(value, Y**2)
    assert divergence == 7
    with pytest.raises(TypeError, match="has its own `with_divergence`"):
        method(f, Y, None)
