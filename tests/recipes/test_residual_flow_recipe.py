"""The recipe `residual-flow`: images from files, and flows of as many parameters."""

import gzip
import struct

import equinox as eqx
import jax
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.calculus import ExactLogDet
from pullback.recipes import load
from pullback.recipes._kit import image_flows
from pullback.runs import run


@pytest.fixture(autouse=True, scope="module")
def plain():
    """As from the command line: float32, ordinary promotion."""
    with jax.enable_x64(False), standard_promotion():
        yield


@pytest.mark.slow
def test_images_from_files(tmp_path):
    for part, count in (("train", 600), ("t10k", 80)):
        pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
        images = struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()
        labels = struct.pack(">II", 2049, count) + bytes(count)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    recipe = load("residual-flow/mnist")
    config = recipe.presets["smoke"]
    record = run(recipe, config, preset="smoke", folder=tmp_path / "run", data=tmp_path)
    assert len(record["claims"]) == 6
    assert "MNIST at 4x4" in record["claims"][0]["sentence"]
    assert [claim["headline"] is not None for claim in record["claims"]] == 2 * [True] + 4 * [False]
    assert (tmp_path / "run" / "figures" / "images.png").exists()


@pytest.mark.parametrize("side", [8, 14])
def test_couplings_have_as_many_parameters_as_residual_blocks_or_just_more(side):
    sizes = image_flows.Sizes((1, side, side), 1, 2, 4, 2, side**2)
    outline = lambda make: eqx.filter_eval_shape(lambda key: make(key=key), jax.random.key(0))
    ours = image_flows.count(
        outline(lambda key: image_flows.residual(sizes, ExactLogDet(), key=key))
    )
    theirs = image_flows.count(outline(lambda key: image_flows.coupling(sizes, ours, key=key)))
    one_unit_each = 2 * (side**2 // 2 + 1 + side**2)
    assert ours <= theirs < ours + one_unit_each


def test_parameters_are_counted_without_the_vectors_that_know_a_norm():
    sizes = image_flows.Sizes((1, 4, 4), 1, 1, 3, 1, 5)
    flow = eqx.filter_eval_shape(
        lambda key: image_flows.residual(sizes, ExactLogDet(), key=key, activation=jax.nn.elu),
        jax.random.key(0),
    )
    norms = 2 * 4 * 2  # two act-norms of four channels
    convolutions = (4 * 3 * 9 + 3) + (3 * 3 + 3) + (3 * 4 * 9 + 4)
    dense = (16 * 5 + 5) + (5 * 16 + 16)
    assert image_flows.count(flow) == norms + convolutions + dense
