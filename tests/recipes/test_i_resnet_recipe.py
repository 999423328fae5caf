"""The recipe `i-resnet`: its own arithmetic, and images of MNIST."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import Labelled, Split
from pullback.nn import LipschitzMLP
from pullback.recipes import load
from pullback.recipes.i_resnet import measure, mnist, models, show
from pullback.recipes.i_resnet.models import Classifier, Config

SMOKE = load("i-resnet").presets["smoke"]


@pytest.fixture(autouse=True, scope="module")
def small():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


def test_iterates_of_linear_blocks_are_partial_sums():
    config = Config(blocks=2, width=4)
    model = Classifier(config, 0.5, (3,), key=jr.key(0))
    net = LipschitzMLP(3, 4, 0, bound=0.5, activation=lambda x: x, key=jr.key(1))
    nets = jax.tree.map(
        lambda leaf: jnp.stack([leaf, 0.5 * leaf]) if eqx.is_array(leaf) else leaf, net
    )
    model = eqx.tree_at(lambda m: m.nets, model, models.settled(nets))
    one, other = np.asarray(
        eqx.filter_vmap(lambda net: net.layers[0].effective_weight())(model.nets)
    )
    shifts = np.asarray(model.nets.layers[0].bias)
    x = np.array([0.3, -0.2, 0.5], np.float32)
    z = (np.eye(3) + other) @ ((np.eye(3) + one) @ x + shifts[0]) + shifts[1]
    np.testing.assert_allclose(model.features(jnp.asarray(x)), z, rtol=1e-5)

    def partial(weight, shift, y, n):
        found = y
        for _ in range(n):
            found = y - weight @ found - shift
        return found

    after = eqx.filter_jit(lambda n: model.after(jnp.asarray(z, jnp.float32), n))
    for n in (0, 1, 4):
        want = partial(one, shifts[0], partial(other, shifts[1], z, n), n)
        np.testing.assert_allclose(after(n), want, atol=1e-5)


def test_enough_iterations_are_the_first_after_which_the_median_image_is_near():
    config = Config(iterations=20)  # after 0, 1, 2, 3, 5, 7, 10, 15 and 20
    errors = np.ones((2, 9, 3))
    errors[0, 4:, :2] = 1e-4  # two of three images, from 5 iterations on
    errors[1, 6:, :1] = 1e-4
    np.testing.assert_array_equal(measure.enough(config, {"errors": errors}, 1e-3), [5, np.inf])


@pytest.mark.slow
def test_mnist_is_squeezed_and_back_and_trains():
    rng = np.random.default_rng(0)
    part = Labelled(
        rng.uniform(size=(40, 28, 28)).astype(np.float32), np.arange(40, dtype=np.int32) % 10
    )
    found = mnist.squeezed(Split(part, part))
    assert found.train.x.shape == (40, 16, 7, 7)
    np.testing.assert_allclose(show._pictures(found.train.x), part.x, atol=1e-6)
    config = dataclasses.replace(SMOKE, steps=2, width=8, batch_size=8, images=10)
    trained = models.train(config, 0.9, *found.train, [0])
    row = measure.score(config, trained, *found.test)
    assert row["norms"].max() < 0.9**3 + 1e-4
    assert np.median(row["errors"][:, -1]) < 1e-4
    np.testing.assert_allclose(row["images"][0, -1], found.test.x[:8], atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"bounds": (0.5, 0.9)}, "falling"),
        ({"bounds": (1.5,)}, "falling"),
        ({"iterations": 3}, "iterations must be at least 20"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(SMOKE, **wrong)
