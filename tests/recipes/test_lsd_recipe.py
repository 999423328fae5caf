"""The recipe `lsd`: its own arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.recipes import load
from pullback.recipes.lsd import measure
from pullback.recipes.lsd.models import Config

RECIPE = load("lsd")

TINY = RECIPE.presets["smoke"]


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


def test_the_score_of_two_modes_is_the_slope_of_their_density():
    left = measure.WEIGHTS[1]
    x = np.linspace(-3, 3, 7)
    density = lambda x: np.logaddexp(
        np.log(left) - (x + 1) ** 2 / 2, np.log(1 - left) - (x - 1) ** 2 / 2
    )
    slope = (density(x + 1e-5) - density(x - 1e-5)) / 2e-5
    found = measure._two_modes_score(jnp.ones(7), jnp.asarray(x))
    np.testing.assert_allclose(found, slope, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"points": 50}, "points must be at least 100, got 50"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
