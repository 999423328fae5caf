"""Flows whose field knows its own divergence: hollow, exact and Hutchinson, alike."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from pullback.calculus import ExactDivergence, HollowDivergence
from pullback.models.flows import CNF
from pullback.nn import HollowNet, TwoSidedConditioner
from pullback.sampling import StandardNormal

DIAGONAL = np.array([-0.3, 0.2, 0.5])
REST = np.array([[0.0, 0.8, 0.1], [-0.5, 0.0, 0.3], [0.2, -0.4, 0.0]])
POINTS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))


class LinearHollow(eqx.Module):
    """diag(a) y + H y, with H zero on its diagonal."""

    def __call__(self, t, y, args=None):
        return self.with_divergence(t, y)[0]

    def with_divergence(self, t, y):
        return jnp.asarray(DIAGONAL) * y + jnp.asarray(REST) @ y, jnp.sum(jnp.asarray(DIAGONAL))


def test_a_linear_hollow_field_has_the_density_of_a_gaussian():
    time = 1.5
    flow = CNF(
        LinearHollow(), StandardNormal(3), HollowDivergence(), t1=time, rtol=1e-10, atol=1e-10
    )
    end = np.asarray(expm((np.diag(DIAGONAL) + REST) * time))
    gaussian = multivariate_normal(np.zeros(3), end @ end.T)  # pyrefly: ignore
    np.testing.assert_allclose(flow.log_prob(POINTS), gaussian.logpdf(POINTS), rtol=0, atol=1e-7)
    _, log_det = flow.transform_and_log_det(POINTS)
    np.testing.assert_allclose(log_det, time * np.sum(DIAGONAL), rtol=0, atol=1e-9)


def test_a_hollow_net_has_the_same_density_and_gradient_by_either_exact_trace():
    conditioner = TwoSidedConditioner(3, 2, 8, key=jr.key(0))
    net = HollowNet(conditioner, 8, zero_last=False, key=jr.key(1))
    hollow = CNF(net, StandardNormal(3), HollowDivergence(), steps=2)
    whole = dataclasses.replace(hollow, divergence=ExactDivergence())
    unset = dataclasses.replace(hollow, divergence=None)
    loss = eqx.filter_jit(eqx.filter_value_and_grad(lambda flow: jnp.sum(flow.log_prob(POINTS))))
    found, expected, default = (jax.tree.leaves(loss(flow)) for flow in (hollow, whole, unset))
    for a, b, c in zip(found, expected, default, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(a, c)


def test_a_field_without_a_divergence_of_its_own_is_refused():
    flow = CNF(lambda t, y, args: -y, StandardNormal(3), HollowDivergence(), steps=1)
    with pytest.raises(TypeError, match="has its own `with_divergence`"):
        flow.log_prob(POINTS)


def test_a_hollow_net_of_a_context_has_its_divergence_there():
    conditioner = TwoSidedConditioner(3, 2, 8, key=jr.key(0))
    net = HollowNet(conditioner, 8, context=2, zero_last=False, key=jr.key(1))
    unset = CNF(net, StandardNormal(3), steps=2, context_shape=2)
    hollow = dataclasses.replace(unset, divergence=HollowDivergence())
    whole = dataclasses.replace(unset, divergence=ExactDivergence())
    contexts = jr.normal(jr.key(2), (4, 2))

    def loss(both):
        flow, contexts = both
        return jnp.sum(flow.log_prob(POINTS, context=contexts))

    found, expected, default = (
        jax.tree.leaves(eqx.filter_jit(eqx.filter_value_and_grad(loss))((flow, contexts)))
        for flow in (hollow, whole, unset)
    )
    for a, b, c in zip(found, expected, default, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(a, c)
    assert np.abs(found[-1]).max() > 1e-3  # by the contexts
