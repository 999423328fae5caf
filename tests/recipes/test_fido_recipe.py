"""The recipe `fido`: its network, its measures, and its other data."""

import dataclasses
import gzip
import struct

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.recipes import load
from pullback.recipes.fido import Config, measure, models
from pullback.runs import run


@pytest.mark.parametrize("side", [5, 6])
def test_the_network_is_two_convolutions_and_two_layers(side, key):
    """By JAX's own convolution, whose weights have the patch last."""
    net = models.Net(side, 3, key=key)
    x = jr.normal(key, (1, side, side))
    h = x
    for stride, layer in enumerate(net.convolutions, 1):
        # A patch goes by its pixels first, and by channels within.
        kernel = jnp.moveaxis(layer.weight.reshape(-1, 3, 3, h.shape[0]), 3, 1)
        ends = ((1, 1), (1, 1))
        h = jax.lax.conv_general_dilated(h[None], kernel, (stride, stride), ends)[0]
        h = jax.nn.relu(h + layer.bias[:, None, None])
    one, two = net.dense
    want = two(jax.nn.relu(one(h.ravel())))
    np.testing.assert_allclose(net(x), want, rtol=0, atol=1e-6)
    images = jnp.stack([x, 2 * x])
    found = models.as_black_box(net)(np.asarray(images))
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, [net(x), net(2 * x)], rtol=0, atol=1e-6)


def test_a_region_is_held_against_the_strokes():
    strokes = np.zeros((2, 2, 3), bool)
    strokes[:, 0] = True  # three of six pixels
    maps = np.array([[[0.9, 0.6, 0.5], [0.7, 0.0, 0.0]], [[0.1, 0.2, 0.8], [0.3, 0.51, 0.0]]])
    assert measure.against(maps, strokes) == {"area": 2.5, "precision": 3 / 5, "covered": 3 / 6}
    nothing = {"area": 0.0, "precision": 0.0, "covered": 0.0}
    assert measure.against(np.zeros((2, 2, 3)), strokes) == nothing


def test_maps_agree_by_ranks():
    one = np.arange(12.0).reshape(2, 2, 3)
    assert measure.agreement(one, one**3) == pytest.approx(1)
    assert measure.agreement(one, np.stack([one[0], -one[1]])) == pytest.approx(0)


def test_the_marked_region_alone_is_filled_in(key):
    images, maps = np.ones((1, 2, 2), np.float32), np.array([[[0.9, 0.5], [0.2, 0.6]]])
    behind = models.Behind(jnp.asarray([[[0.1, 0.2], [0.3, 0.4]]], jnp.float32))
    found = measure.filled(behind, images, maps, key=key)
    np.testing.assert_allclose(found, [[[0.1, 1.0], [1.0, 0.4]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("setting", "zero"), [("seeds", 0), ("pictures", 0), ("size_weight", 0.0), ("grid", 0)]
)
def test_settings_that_make_no_sense_are_refused(setting, zero):
    with pytest.raises(ValueError, match=f"{setting} must be"):
        dataclasses.replace(Config(), **{setting: zero})


@pytest.mark.slow
def test_images_from_files(tmp_path):
    """Its smallest run, on noise: every infill compiles a program."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 300), ("t10k", 200)):
        pixels = generator.integers(0, 256, (count, 28, 28), np.uint8)
        images = struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()
        classes = (np.arange(count) % 10).astype(np.uint8)
        labels = struct.pack(">II", 2049, count) + classes.tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    recipe = load("fido/mnist")
    with jax.enable_x64(False), standard_promotion():
        record = run(
            recipe, recipe.presets["smoke"], preset="smoke", folder=tmp_path / "run", data=tmp_path
        )
    assert len(record["claims"]) == 4
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
    assert (tmp_path / "run" / "figures" / "maps.png").exists()
