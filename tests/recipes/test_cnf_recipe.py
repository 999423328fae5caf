"""The recipe `cnf`: its pictures, and a table of the user's own."""

import csv
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from pullback.data import DataError
from pullback.models.flows import CNF
from pullback.recipes import cnf, load
from pullback.recipes._kit.gaussian import fitted_gaussian
from pullback.runs import run
from pullback.sampling import StandardNormal

OWN = load("cnf", own=True)

TINY = cnf.Config(
    points=64, held_out=32, width=4, depth=1, solver_steps=1, iterations=10, batch_size=32, seeds=2,
    grid=11, tolerance=1e-3,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def small():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def _run(folder, data):
    return run(OWN, OWN.config(**vars(TINY)), preset="smoke", folder=folder, data=data)


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


def _table(path, values, header):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *values.tolist()])
    return path


def test_a_table_is_scored_in_its_own_units(tmp_path):
    mixing = np.array([[3.0, 1.0], [0.0, 0.5]])
    values = np.random.default_rng(0).normal(size=(200, 2)) @ mixing.T + [10.0, -2.0]
    file = _table(tmp_path / "my.csv", values, ["height, m", "weight"])
    record = _run(tmp_path / "run", data=file)
    assert len(record["claims"]) == 1
    with (tmp_path / "run" / "scores.csv").open() as text:
        scores = list(csv.DictReader(text))
    # Lines of the file: the first is the header.
    assert [int(row["row"]) for row in scores] == list(range(2, 202))
    assert {row["part"] for row in scores} == {"train", "validation", "test"}
    with (tmp_path / "run" / "samples.csv").open() as text:
        header, *samples = list(csv.reader(text))
    assert header == ["height, m", "weight"]
    # A hardly trained flow is near the Gaussian with the columns' own means and deviations.
    flat = -np.sum(((values - values.mean(0)) / values.std(0)) ** 2, axis=1) / 2
    flat -= np.log(2 * np.pi * values.std(0).prod())
    found = np.array([float(row["log_prob"]) for row in scores])
    assert abs(np.mean(found - flat)) < 0.2
    np.testing.assert_allclose(np.mean(np.array(samples, float), 0), values.mean(0), atol=1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((50, 1)), "expected two or more columns"),
        (np.random.default_rng(0).normal(size=(5, 2)), "expected 40 rows or more"),
        (np.arange(100.0).reshape(50, 2) * [1, 0], "column 'b' is 0 in every row"),
    ],
)
def test_a_table_that_cannot_be_fitted_is_refused(tmp_path, values, message):
    file = _table(tmp_path / "my.csv", values, list("ab"[: values.shape[1]]))
    with pytest.raises(DataError, match=message):
        _run(tmp_path / "run", data=file)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        cnf.Config(seeds=0)
