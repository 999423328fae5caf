"""The recipe `cnf`: its pictures."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from pullback.models.flows import CNF
from pullback.recipes import cnf
from pullback.recipes._kit.gaussian import fitted_gaussian
from pullback.recipes.cnf import models
from pullback.sampling import StandardNormal

TINY = cnf.Config(
    points=64, held_out=32, width=4, depth=1, solver_steps=1, iterations=10, batch_size=32, seeds=2,
    grid=11, tolerance=1e-3,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def small():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def test_the_gaussian_is_the_one_that_scipy_knows():
    fitted_to, x = np.split(np.random.default_rng(0).normal(size=(30, 3)) @ np.triu(np.ones(3)), 2)
    covariance: Any = np.cov(fitted_to.T)
    expected = multivariate_normal(fitted_to.mean(0), covariance).logpdf(x)
    np.testing.assert_allclose(fitted_gaussian(fitted_to, x), expected)


def test_the_pictures_of_a_linear_flow_are_gaussians():
    matrix = np.array([[-0.3, 0.8], [-0.5, 0.2]])
    flow = CNF(lambda t, z, args: jnp.asarray(matrix, z.dtype) @ z, StandardNormal(2))
    ((name, densities, paths),) = cnf._in_time(TINY, {"linear": flow})
    assert name == "linear"
    assert paths.shape == (250, 5, 2)
    axis = np.linspace(-3, 3, TINY.grid)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    for time, density, points in zip(cnf._TIMES, densities, paths.swapaxes(0, 1), strict=True):
        end = expm(time * matrix)
        covariance: Any = end @ end.T
        wanted = multivariate_normal(np.zeros(2), covariance).pdf(grid)
        np.testing.assert_allclose(density, wanted, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(points, paths[:, 0] @ end.T, atol=1e-4)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        cnf.Config(seeds=0)


def test_an_estimated_trace_costs_the_same_in_any_dimension_and_an_exact_one_does_not():
    small, large = (
        models.trace_costs(dataclasses.replace(TINY, cost_dim=dim, width=64)) for dim in (8, 32)
    )
    ratio = lambda costs, name: costs[name] / costs["alone"]
    assert 1.5 < ratio(small, "hutchinson") < 4
    assert ratio(large, "hutchinson") == pytest.approx(ratio(small, "hutchinson"), rel=0.2)
    assert 2.5 < ratio(large, "exact") / ratio(small, "exact") < 4.5
