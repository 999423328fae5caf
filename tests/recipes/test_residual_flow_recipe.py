"""The recipe `residual-flow`: images from files."""

import gzip
import struct

import jax
import numpy as np
import pytest

from pullback.recipes import load
from pullback.runs import run

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def plain():
    """JAX as it is out of the box."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


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
    assert len(record["claims"]) == 2
    assert "MNIST at 4x4" in record["claims"][0]["sentence"]
    assert (tmp_path / "run" / "figures" / "images.png").exists()
