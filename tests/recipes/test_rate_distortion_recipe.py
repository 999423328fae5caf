"""The recipe `rate-distortion`: its own arithmetic, and linear models of a table."""

import jax.numpy as jnp
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.analysis import discrete_rate_distortion
from pullback.recipes import load
from pullback.recipes._own.rate_distortion import same_moments
from pullback.recipes.rate_distortion import Config, measure
from pullback.runs import Context


def test_the_true_model_shares_half_a_nat():
    p_z, p_x_z = measure.true_model()
    np.testing.assert_allclose(p_x_z.sum(1), 1.0, rtol=1e-12)
    p_x = p_z @ p_x_z
    posterior = (p_z[:, None] * p_x_z / p_x).T
    tables = (p_x, np.log(posterior), np.log(p_z), np.log(p_x_z))
    found = discrete_rate_distortion(*map(jnp.asarray, tables))
    np.testing.assert_allclose(found.rate, 0.5, atol=1e-9)
    np.testing.assert_allclose(found.information, 0.5, atol=1e-9)
    np.testing.assert_allclose(found.distortion, 2.51648, atol=1e-4)
    np.testing.assert_allclose(found.entropy, 3.01648, atol=1e-4)


def test_the_decoder_is_held_against_the_truth_in_either_order():
    _, truth = measure.true_model()
    for rows in (truth, truth[::-1]):
        near = 0.9 * rows + 0.1 / rows.shape[1]
        np.testing.assert_array_equal(measure.matched(near, truth), 0.9 * truth + 0.1 / 30)


def test_few_rows_have_the_moments_of_all():
    rows = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([1.0, 2.0, 3.0, 0.5]) + 1
    few, values = same_moments(rows)
    np.testing.assert_allclose(few.mean(0), 0, atol=1e-12)
    covariance = np.cov(rows.T, bias=True)
    np.testing.assert_allclose(few.T @ few / len(few), covariance, atol=1e-10)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(covariance)[::-1], atol=1e-10)


@pytest.mark.slow  # Trains to the optimum.
def test_a_table_of_ones_own(tmp_path, x32):
    own = load("rate-distortion", own=True)
    file = tmp_path / "mine.csv"
    mixed = np.random.default_rng(1).normal(size=(3, 3))
    rows = np.random.default_rng(0).normal(size=(60, 3)) @ mixed
    file.write_text("a,b,c\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    with standard_promotion():
        config = own.config(seeds=1, linear_steps=2000)
        claims = own.run(config, Context(tmp_path / "run", data=file))
    assert [claim.holds for claim in claims] == [True]
    file.write_text("a,b\n1,2\n1,3\n1,4\n")
    with pytest.raises(ValueError, match=r"column 'a' of mine\.csv is the same in every row"):
        own.run(config, Context(tmp_path / "flat", data=file))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"betas": (0.1, 0.5)}, "betas must have 1 in them"),
        ({"rates": (5.0, 2.0)}, "rates must be 2 or more numbers that rise"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**fields)
