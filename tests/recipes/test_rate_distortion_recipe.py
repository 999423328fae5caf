"""The recipe `rate-distortion`: its own arithmetic, and linear models of a table."""

import jax.numpy as jnp
import numpy as np
import pytest

from pullback.analysis import discrete_rate_distortion
from pullback.recipes.rate_distortion import Config, measure


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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"betas": (0.1, 0.5)}, "betas must have 1 in them"),
        ({"decoders": ("PixelCNN",)}, "decoders must be 'independent pixels' and one or more of"),
        ({"rates": (5.0, 2.0)}, "rates must be 2 or more numbers that rise"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**fields)
