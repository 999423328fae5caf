"""Flows whose densities are known, and properties that every flow must have."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from pullback.calculus import ExactDivergence, HutchinsonDivergence
from pullback.models.flows import CNF, maximum_likelihood_loss
from pullback.nn import ConcatSquashMLP, HyperPlanarField
from pullback.ode import DeferredPenalty, KineticEnergy, SolveError, TaylorEnergy
from pullback.sampling import StandardNormal

T0, T1 = 0.5, 2.0
MATRIX = np.array([[-0.3, 0.8, 0.1], [-0.5, 0.2, 0.0], [0.3, -0.2, -0.4]])
END = np.asarray(expm(MATRIX * (T1 - T0)))
POINTS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
PLANE = POINTS[:, :2]


class Linear(eqx.Module):
    matrix: jax.Array

    def __call__(self, t, y, args):
        return self.matrix @ y


def linear(**options: Any):
    options = {"t0": T0, "t1": T1, "rtol": 1e-10, "atol": 1e-10} | options
    return CNF(Linear(jnp.asarray(MATRIX)), StandardNormal(3), **options)


def wild(**options: Any):
    """A flow that moves points about: a net with a random last layer, and large weights."""
    net = ConcatSquashMLP(2, width=8, depth=2, zero_last=False, key=jr.key(0))
    net = jax.tree.map(lambda w: 2 * w if eqx.is_inexact_array(w) else w, net)
    return CNF(net, StandardNormal(2), **options)


def gaussian(x, end=END):
    return multivariate_normal(np.zeros(3), end @ end.T).logpdf(x)  # pyrefly: ignore


@pytest.mark.parametrize("stepping", ["per_sample", "joint"])
def test_a_linear_flow_has_the_density_of_a_gaussian(stepping):
    log_prob = linear(stepping=stepping).log_prob(POINTS)
    np.testing.assert_allclose(log_prob, gaussian(POINTS), rtol=0, atol=1e-7)


def test_at_a_time_on_the_way_the_density_is_that_of_the_flow_stopped_there():
    log_prob = dataclasses.replace(linear(), t1=1.2).log_prob(POINTS)
    end = np.asarray(expm(MATRIX * (1.2 - T0)))
    expected = gaussian(POINTS, end)
    np.testing.assert_allclose(log_prob, expected, rtol=0, atol=1e-7)


def test_hutchinson_is_unbiased_and_as_noisy_as_its_probe(key):
    probes = 4000
    flow = linear(divergence=HutchinsonDivergence(), steps=8)
    point = np.array([0.3, -1.0, 0.5])
    errors = np.asarray(flow.log_prob(jnp.tile(point, (probes, 1)), key=key)) - gaussian(point)
    # The trace is constant in time: one probe held fixed has -(T1 - T0)(eps A eps - tr A).
    symmetric = (MATRIX + MATRIX.T) / 2
    off_diagonal = np.sum(symmetric**2) - np.sum(np.diag(symmetric) ** 2)
    deviation = (T1 - T0) * np.sqrt(2 * off_diagonal)
    assert abs(errors.mean()) < 4 * deviation / np.sqrt(probes)
    # Noise redrawn during the solve would average out; held fixed, all of it is there.
    assert errors.std() == pytest.approx(deviation, rel=0.1)


def test_samples_have_the_mean_and_covariance_of_the_gaussian(key):
    n = 20_000
    flow = linear(steps=4)
    x = np.asarray(flow.sample(key, (2, n // 2)))
    covariance = END @ END.T
    flat = x.reshape(-1, 3)
    mean_error = np.sqrt(np.diag(covariance) / n)
    assert np.all(abs(flat.mean(0)) < 4 * mean_error)
    variances = np.diag(covariance)
    covariance_error = np.sqrt((np.outer(variances, variances) + covariance**2) / n)
    assert np.all(abs(np.cov(flat.T) - covariance) < 4 * covariance_error)


def test_samples_come_with_the_density_that_log_prob_gives_them(key):
    flow = linear()
    x, log_prob = flow.sample_and_log_prob(key, (2, 2))
    np.testing.assert_allclose(log_prob, gaussian(x), rtol=0, atol=1e-7)


def test_the_inverse_undoes_the_flow_and_its_log_determinant():
    flow = wild(rtol=1e-10, atol=1e-10)
    x, log_det = flow.transform_and_log_det(PLANE)
    back, inverse_log_det = flow.inverse_and_log_det(x)
    assert np.abs(x - PLANE).max() > 0.1
    np.testing.assert_allclose(back, PLANE, rtol=0, atol=1e-9)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=0, atol=1e-9)


def test_the_log_determinant_is_that_of_the_jacobian_of_the_map():
    flow, step = wild(rtol=1e-10, atol=1e-10), 1e-3
    point = PLANE[0]
    around = point[None] + step * jnp.asarray([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    right, left, up, down = np.asarray(flow.transform_and_log_det(around)[0])
    jacobian = np.stack([right - left, up - down], axis=1) / (2 * step)
    _, log_det = flow.transform_and_log_det(PLANE)
    assert log_det[0] == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=1e-5)


def test_a_density_integrates_to_one():
    flow = wild(rtol=1e-5, atol=1e-5, stepping="joint")
    axis = np.linspace(-9, 9, 121)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1))
    mass = np.exp(flow.log_prob(grid, batch_size=4096)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=1e-3)


def test_the_score_of_a_point_does_not_depend_on_the_batch():
    flow = wild(rtol=1e-3, atol=1e-3)
    apart = PLANE * jnp.asarray([[1.0], [3.0], [6.0], [10.0]])
    alone = np.stack([flow.log_prob(x) for x in apart])
    np.testing.assert_allclose(flow.log_prob(apart), alone, rtol=0, atol=1e-12)


def test_batches_of_bounded_size_give_the_same(key):
    flow = wild(divergence=HutchinsonDivergence("gaussian", 2), steps=3)
    x = jnp.concatenate([PLANE, PLANE[:1] + 1])
    whole, parts = (flow.log_prob(x, batch_size=size, key=key) for size in (None, 2))
    np.testing.assert_allclose(whole, parts, rtol=0, atol=1e-12)


def test_gradients_are_those_of_finite_differences(key):
    flow = wild(steps=2)
    x, step = PLANE, 1e-5
    params, rest = eqx.partition(flow, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    @jax.jit
    def loss(flat):
        return maximum_likelihood_loss(eqx.combine(unravel(flat), rest), x, key=key)[0]

    gradient = jax.grad(loss)(flat)
    for direction in np.random.default_rng(1).normal(size=(3, flat.size)):
        difference = (loss(flat + step * direction) - loss(flat - step * direction)) / (2 * step)
        assert gradient @ direction == pytest.approx(float(difference), rel=1e-6, abs=1e-8)


def test_the_field_s_own_divergence_is_used_and_is_the_exact_one():
    field = HyperPlanarField(2, units=4, width=8, key=jr.key(0))
    field = jax.tree.map(lambda w: 3 * w if eqx.is_inexact_array(w) else w, field)
    own = CNF(field, StandardNormal(2), t1=5.0, steps=4)
    exact = dataclasses.replace(own, divergence=ExactDivergence())
    x = PLANE
    assert np.abs(own.log_prob(x) - own.base.log_prob(x)).max() > 1e-2
    np.testing.assert_allclose(own.log_prob(x), exact.log_prob(x), rtol=0, atol=1e-10)

    class Wrong(eqx.Module):
        def __call__(self, t, y, args):
            return y

        def with_divergence(self, t, y):
            return y, jnp.asarray(7.0)

    flow = CNF(Wrong(), StandardNormal(2), steps=1)
    _, log_det = flow.transform_and_log_det(x)
    np.testing.assert_allclose(log_det, 7.0)


class Shifted:
    """A distribution as another library has it: batches in, batches out, and its own names."""

    def log_prob(self, value):
        return jnp.sum(-jnp.abs(value - 1) - jnp.log(2.0), axis=-1)

    def sample(self, rng, sample_shape=()):
        return 1 + jr.laplace(rng, (*sample_shape, 3))


def test_any_distribution_can_be_the_base(key):
    flow = dataclasses.replace(linear(), base=Shifted())
    back = np.asarray(POINTS) @ np.linalg.inv(END).T
    expected = np.sum(-abs(back - 1) - np.log(2), axis=-1) - np.trace(MATRIX) * (T1 - T0)
    np.testing.assert_allclose(flow.log_prob(POINTS), expected, rtol=0, atol=1e-7)
    moved = np.asarray(Shifted().sample(key, (2,))) @ END.T
    np.testing.assert_allclose(flow.sample(key, (2,)), moved, rtol=0, atol=1e-7)


def test_a_flow_is_the_base_of_another():
    base = linear(t1=1.2)
    rest = dataclasses.replace(linear(t0=1.2), base=base)
    np.testing.assert_allclose(rest.log_prob(POINTS), gaussian(POINTS), rtol=0, atol=1e-7)


@pytest.mark.parametrize("steps", [None, 16])
def test_the_trajectory_passes_through_the_known_states(steps):
    ts = jnp.asarray([T0, 1.0, T1])
    path = linear(steps=steps).trajectory(POINTS, ts)
    expected = np.stack([np.asarray(POINTS) @ expm(MATRIX * (t - T0)).T for t in ts], axis=1)
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-7)


def test_a_failed_solve_raises_when_scoring_and_is_reported_when_training(key):
    flow = linear(max_steps=3)
    with pytest.raises(SolveError, match="max_steps"):
        flow.log_prob(POINTS)
    with pytest.raises(SolveError, match="max_steps"):
        flow.log_prob(POINTS, batch_size=2)
    _, metrics = maximum_likelihood_loss(flow, POINTS, key=key)
    assert metrics["result"] == 1
    _, metrics = maximum_likelihood_loss(linear(), POINTS, key=key)
    assert metrics["result"] == 0


@pytest.mark.parametrize("stepping", ["per_sample", "joint"])
def test_penalties_are_integrated_along_the_paths_of_the_points(stepping, key):
    """Of z' = A z the K-th derivative is A^K z, whose square is summed along the known path."""
    flow = linear(stepping=stepping)
    penalties = TaylorEnergy(1), TaylorEnergy(2), KineticEnergy()
    log_prob, metrics = flow.log_prob_in_training(POINTS, penalties=penalties, key=key)
    np.testing.assert_allclose(log_prob, gaussian(POINTS), rtol=0, atol=1e-7)

    def rate(t, order):
        z = np.asarray(POINTS) @ expm(MATRIX * (t - T1)).T
        return np.mean((z @ np.linalg.matrix_power(MATRIX, order).T) ** 2)

    first, second = (quad(rate, T0, T1, args=(order,))[0] for order in (1, 2))
    found = [float(metrics[f"penalty_{k}"]) for k in range(3)]
    np.testing.assert_allclose(found, [first, second, first], rtol=1e-7)


def test_a_penalty_changes_neither_the_steps_nor_the_log_density(key):
    def trained(penalties):
        return wild(stepping="joint").log_prob_in_training(PLANE, penalties=penalties, key=key)

    log_prob, metrics = trained((TaylorEnergy(2),))
    plain, others = trained(())
    np.testing.assert_array_equal(log_prob, plain)
    assert metrics["nfe"] == others["nfe"]
    assert sorted(set(metrics) - set(others)) == ["penalty_0"]


def test_a_deferred_penalty_has_the_gradient_of_the_whole_solve(key):
    def loss(flow):
        penalties = (TaylorEnergy(2),)
        log_probs, metrics = flow.log_prob_in_training(PLANE, penalties=penalties, key=key)
        return 0.3 * metrics["penalty_0"] - jnp.mean(log_probs)

    def found(adjoint):
        value = eqx.filter_jit(eqx.filter_value_and_grad(loss))(wild(steps=1, adjoint=adjoint))
        return value[0], jax.flatten_util.ravel_pytree(value[1])[0]

    (whole, gradient), (task, deferred) = found(None), found(DeferredPenalty())
    np.testing.assert_allclose(deferred, gradient, rtol=1e-9, atol=1e-9)
    plain, _ = wild(steps=1).log_prob_in_training(PLANE, key=key)
    np.testing.assert_allclose(task, -plain.mean(), rtol=1e-9)  # what is shown is the task's alone
    assert whole > task


def test_what_does_not_fit_is_named(key):
    flow = wild(divergence=HutchinsonDivergence())
    with pytest.raises(ValueError, match="needs `key`"):
        flow.log_prob(PLANE)
    with pytest.raises(ValueError, match="`batch_size` must be 1 or more"):
        wild().log_prob(PLANE, batch_size=0)
    with pytest.raises(ValueError, match="`shape` must be of sizes of 1 or more"):
        StandardNormal(0)


def test_plain_float32(x32):
    x, log_prob = wild(steps=3).sample_and_log_prob(jr.key(0), (4,))
    assert x.dtype == log_prob.dtype == jnp.float32
