"""The recipe `jem`: its own arithmetic, MNIST and CIFAR-10."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import Labelled, Split, digits
from pullback.models.energy import JEM
from pullback.recipes import load
from pullback.recipes.jem import cifar, measure, mnist, models
from pullback.recipes.jem.models import Config, ConvNet, Problem, moons
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


def test_the_convolutional_network_convolves_blocks_of_pixels():
    net = ConvNet((3, 14, 20), 4, 5, key=jr.key(0))
    x = jr.normal(jr.key(1), (3, 14, 20))
    blocks = np.zeros((12, 7, 10), np.float32)
    for colour, row, column in np.ndindex(3, 2, 2):
        # A channel for each pixel of a block of each colour.
        channel = 4 * colour + 2 * row + column
        blocks[channel] = x[colour, row::2, column::2]
    hidden = jnp.asarray(blocks)
    for conv in net.convs:
        hidden = jax.nn.silu(conv(hidden))
    np.testing.assert_allclose(net(x), net.last(hidden.reshape(-1)), atol=1e-5)


@pytest.fixture
def coin():
    """Images of which three of four are of class 0, held out and tested."""
    y = np.tile([0, 0, 0, 1], 50).astype(np.int32)
    x = np.zeros((200, 4), np.float32)
    rows = np.arange(200)[None]
    return Problem(x, y, rows, rows, Labelled(x, y), (-1.0, 1.0), rows)


def test_a_temperature_makes_up_for_logits_that_are_too_sure(coin):
    """Logits that say .95 where .75 are right; at 2.68 times the temperature they say .75."""
    sure = JEM(Flat(jnp.array([[np.log(0.95 / 0.05), 0.0]])))
    prob = measure.classify(coin, sure)["prob"]
    tempered, raw = measure.tempered(coin, sure, prob), measure.classify(coin, sure)["ece"]
    np.testing.assert_allclose(raw, [0.2], rtol=1e-4)
    assert tempered[0] < 0.005  # the temperatures lie 3.5 % apart


def test_the_rate_is_chosen_by_what_is_right_of_the_images_held_out(coin, tmp_path, monkeypatch):
    """Of two rates each seed takes the better one: the bias of class 0, which is right of .75."""
    biases = {
        0.1: jnp.array([[1.0, 0.0], [0.0, 1.0]]),
        0.2: jnp.array([[0.0, 1.0], [1.0, 0.0]]),
    }
    trained = lambda context, config, part, kinds, problem, seeds: {
        name: {"models": JEM(Flat(biases.get(kind.learning_rate, biases[0.1])))}
        for name, kind in kinds.items()
    }
    monkeypatch.setattr(models, "train_kinds", trained)
    twice = coin._replace(held=np.tile(coin.held, (2, 1)))
    config = dataclasses.replace(TINY, plain_rates=(0.1, 0.2))
    found = models.train_on_images(Context(tmp_path / "run"), config, twice, [0, 1])
    np.testing.assert_array_equal(found["cross-entropy"]["models"].classifier.bias, [[1, 0]] * 2)
    assert found["cross-entropy"]["rates"] == [0.1, 0.2]


def test_samples_are_judged_by_another_classifier(coin):
    """One that always says class 1 agrees with the samples of class 1, which are half of them."""
    flat = JEM(Flat(jnp.array([[0.0, 1.0]])))
    drawn = measure.draw(coin, flat, flat, 0)
    np.testing.assert_allclose(drawn["agree"], [0.5])
    assert drawn["samples"].shape == (16, 4)
    assert (drawn["samples"] >= 0).all()
    assert (drawn["samples"] <= 1).all()


def test_images_of_a_folder_are_all_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "mnist", lambda folder: digits())
    config = dataclasses.replace(mnist.PRESETS["smoke"], seeds=1, image_steps=2)
    claims = mnist.run(config, Context(tmp_path / "run", data=tmp_path))
    assert all(claim.sentence.startswith("MNIST, 60 images:") for claim in claims)
    assert [claim.headline is not None for claim in claims] == [True, True, False, False]
    assert all(np.isfinite(claim.value) for claim in claims)


def test_colours_come_first_and_blocks_of_pixels_are_averaged(tmp_path, monkeypatch):
    images = np.arange(2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
    part = Labelled(images, np.array([3, 4], np.int32))
    monkeypatch.setattr(cifar, "cifar10_subset", lambda folder: Split(part, part))
    seen = {}

    def look(config, context, split, what, calibrated):
        seen.update(split=split, calibrated=calibrated)
        return None, None, []

    monkeypatch.setattr(cifar, "on_images", look)
    config = dataclasses.replace(cifar.PRESETS["desk"], block=2)
    assert cifar.run(config, Context(tmp_path / "run", data=tmp_path)) == []
    x = seen["split"].train.x
    assert x.shape == (2, 3, 4, 4)
    assert seen["calibrated"]
    np.testing.assert_allclose(x[1, 2, 3, 0], images[1, 6:8, 0:2, 2].mean())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"labels": 1}, "labels must be at least 2, got 1"),
        ({"radii": (1.0, 0.5)}, "radii must be 1 or more numbers that rise"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)


def test_blocks_that_do_not_tile_an_image_are_refused():
    with pytest.raises(ValueError, match="block must be 1, 2 or 4, got 3"):
        dataclasses.replace(mnist.PRESETS["desk"], block=3)
