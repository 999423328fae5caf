"""The recipe `jem`: its own arithmetic, and MNIST."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import digits
from pullback.models.energy import JEM
from pullback.recipes import load
from pullback.recipes.jem import measure, mnist
from pullback.recipes.jem.models import Config, moons
from pullback.runs import Context

RECIPE = load("jem")

TINY = RECIPE.presets["smoke"]


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


class Flat(eqx.Module):
    """Logits that are the same everywhere."""

    bias: jax.Array

    def __call__(self, x):
        return self.bias + 0 * jnp.sum(x)


def test_a_density_that_is_flat_over_the_box_is_one_over_its_area():
    """And the probability of the second class is a softmax of the biases."""
    problem = moons(TINY, [0])
    bias = jnp.array([[0.0, 1.0], [0.0, -2.0]])
    found = measure.on_moons(problem, JEM(Flat(bias)))
    np.testing.assert_allclose(found["density_nll"], np.log(144.0), rtol=1e-5)
    second = 1 / (1 + np.exp(-bias[:, 1]))
    y = problem.test.y
    expected = -np.log(np.where(y == 1, second[:, None], 1 - second[:, None])).mean(axis=1)
    np.testing.assert_allclose(found["nll"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], [np.mean(y == 1), np.mean(y == 0)])


def test_ood_sets_are_test_images_changed():
    problem = moons(TINY, [0])._replace(box=(-1.0, 1.0))
    made = measure.ood_sets(problem, 0)
    x = problem.test.x
    np.testing.assert_allclose(made["contrast x 1.5"] / x, 1.5)
    np.testing.assert_allclose(np.sort(made["shuffled pixels"]), np.sort(x))
    np.testing.assert_allclose(made["mean of two"][0], (x[0] + x[-1]) / 2)
    assert np.abs(made["uniform noise"]).max() <= 1


def test_images_of_a_folder_are_all_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "mnist", lambda folder: digits())
    config = dataclasses.replace(mnist.PRESETS["smoke"], seeds=1, image_steps=2)
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert [claim.sentence.startswith("MNIST with 60 labels") for claim in claims] == [True] * 4 + [
        False
    ]
    assert all(np.isfinite(claim.value) for claim in claims)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"labels": 1}, "labels must be at least 2, got 1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
