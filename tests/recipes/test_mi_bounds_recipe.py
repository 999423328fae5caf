"""The recipe `mi-bounds`: its pairs, and a table of the user's own."""

import csv
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import norm

from pullback.data import DataError
from pullback.recipes import load, mi_bounds
from pullback.recipes._own import mi_bounds as _mi_bounds_table
from pullback.recipes.mi_bounds import measure
from pullback.runs import run

OWN = load("mi-bounds", own=True)

TINY = mi_bounds.Config(
    seeds=2, informations=(0.5, 2.0), dim=3, batch_size=16, width=8, embedding=4, baseline_width=4,
    steps=40, learning_rate=5e-3, batches=30,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def small():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def _run_on_table(folder, file, **change):
    config = OWN.config(**vars(TINY) | {"table_steps": 100} | change)
    return run(OWN, config, preset="smoke", folder=folder, data=file)


def test_pairs_have_the_information_that_was_asked_for():
    config = mi_bounds.Config(dim=2, batch_size=5000)
    information = jnp.asarray(1.5)
    x, y = measure._pairs(config, information, jr.key(0))
    rho = math.sqrt(1 - math.exp(-1.5))
    # Four standard errors of a correlation, (1 - rho^2) / sqrt(n).
    for column in range(2):
        found = np.corrcoef(x[:, column], y[:, column])[0, 1]
        assert abs(found - rho) < 4 * (1 - rho**2) / math.sqrt(5000)
    x, y = x[:4], y[:4]
    found = measure._log_ratio(config, information, x, y)
    expected = norm.logpdf(
        np.asarray(y)[:, None], rho * np.asarray(x)[None], math.sqrt(1 - rho**2)
    ).sum(-1) - norm.logpdf(np.asarray(y)).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def _table(path, values, header):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *values.tolist()])
    return path


@pytest.mark.slow  # Trains four critics.
def test_a_table_is_told_what_its_columns_share(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1))
    values = np.hstack([x, rng.normal(size=(400, 1)), x + 0.3 * rng.normal(size=(400, 1))])
    file = _table(tmp_path / "my.csv", values, ["height", "noise", "weight"])
    record = _run_on_table(tmp_path / "run", file)
    assert [claim["holds"] for claim in record["claims"]] == [True, True, True]
    assert (tmp_path / "run" / "figures" / "table.png").exists()


def test_the_gaussian_reference_is_minus_half_the_log_of_what_is_left():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 1))
    rho = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    expected = -0.5 * math.log(1 - rho**2)
    assert _mi_bounds_table._gaussian(x, y) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ({}, (("a",), ("b", "c"))),
        ({"x_columns": ("c",)}, (("c",), ("a", "b"))),
        ({"y_columns": ("a",)}, (("b",), ("a",))),
        ({"x_columns": ("a", "b"), "y_columns": ("c",)}, (("a", "b"), ("c",))),
    ],
)
def test_columns_are_chosen_by_name(change, columns, tmp_path):
    config = OWN.config(**change)
    assert _mi_bounds_table._columns(config, tmp_path, ("a", "b", "c")) == columns


@pytest.mark.parametrize(
    ("change", "rows", "message"),
    [
        ({"x_columns": ("d",)}, 200, "x_columns names 'd'; the columns are a, b, c"),
        ({"x_columns": ("a",), "y_columns": ("a",)}, 200, "column 'a' is in x_columns and in y_"),
        ({"x_columns": ("a", "b", "c")}, 200, "expected columns for x and for y"),
        ({}, 30, "expected 100 rows or more to estimate from; got 30"),
    ],
)
def test_a_table_that_cannot_be_told_is_refused(tmp_path, change, rows, message):
    values = np.random.default_rng(0).normal(size=(rows, 3))
    file = _table(tmp_path / "my.csv", values, ["a", "b", "c"])
    with pytest.raises(DataError, match=message):
        _run_on_table(tmp_path / "run", file, **change)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"informations": (2.0, 1.0)}, "informations must be 2 or more numbers that rise, above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        mi_bounds.Config(**wrong)
