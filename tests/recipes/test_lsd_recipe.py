"""The recipe `lsd`: its own arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.decomposition import PCA

from pullback._promotion import standard_promotion
from pullback.recipes import load
from pullback.recipes.lsd import measure, mnist, models
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


def test_rows_are_whitened_by_the_covariance_of_those_that_models_learn_from():
    x = np.random.default_rng(0).normal(size=(500, 3)) @ np.array(
        [[3, 0, 1], [0, 0.1, 2], [0, 0, 1]]
    )
    white = np.asarray(x @ np.asarray(models._whitening(jnp.asarray(x)), float))
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(3), atol=1e-3)


def test_known_densities_of_images_are_those_of_scipy():
    generator = np.random.default_rng(0)
    y = np.repeat([0, 1], [90, 30])
    x = generator.normal(size=(120, 100)) + 3 * y[:, None] * np.eye(100)[0]
    found = mnist.known_densities(x, y)
    assert list(found)[:2] == ["independent pixels", "5 factors"]
    point = x[0]
    plain = norm.logpdf(point, x.mean(axis=0), x.std(axis=0)).sum()
    np.testing.assert_allclose(found[mnist.BASE].log_density(jnp.asarray(point)), plain, rtol=1e-4)
    parts = [
        np.log(share) + norm.logpdf(point, part.mean(axis=0), part.std(axis=0)).sum()
        for share, part in ((0.75, x[:90]), (0.25, x[90:]))
    ]
    of_classes = found[f"a class each, {mnist.BASE}"].log_density(jnp.asarray(point))
    np.testing.assert_allclose(of_classes, np.logaddexp(*parts), rtol=1e-4)
    spread = PCA(5).fit(x).get_covariance()
    factors = multivariate_normal.logpdf(point, x.mean(axis=0), spread)
    np.testing.assert_allclose(
        found["5 factors"].log_density(jnp.asarray(point)), factors, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"points": 50}, "points must be at least 100, got 50"),
        ({"visible": (50,)}, "visible must be 2 or more numbers that rise"),
        ({"rows": 100}, "rows must be at least 256, got 100"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
