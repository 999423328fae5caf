"""Omniglot's file of arrays: who is held out, what a damaged file says, and the real one."""

import os

import numpy as np
import pytest

from pullback.data import DataError, omniglot


def write(folder, **changes):
    drawer = np.tile(np.arange(1, 7), 2)
    arrays = {
        "img28": np.full((12, 28, 28), 255, np.uint8)
        * (np.arange(12) % 2).astype(np.uint8)[:, None, None],
        "char_id": np.repeat([3, 8], 6),
        "drawer": drawer,
    }
    np.savez(folder / "omniglot_small.npz", **{**arrays, **changes})


def test_the_last_four_drawers_are_held_out(tmp_path):
    write(tmp_path)
    train, test = omniglot(tmp_path)
    assert train.x.shape == (4, 28, 28)
    assert test.y.tolist() == [3] * 4 + [8] * 4
    assert (train.x.dtype, train.y.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(train.x[:, 0, 0], [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"img28": np.zeros((12, 28, 28))}, r"expected bytes \(uint8\) in img28, got float64"),
        (
            {"img28": np.zeros((3, 28, 28), np.uint8)},
            "there are 3 of img28, 12 of char_id and 12 of drawer",
        ),
        ({"drawer": np.array([None])}, "drawer holds Python objects"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, changes, message):
    write(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        omniglot(tmp_path)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"omniglot_small\.npz"):
        omniglot(tmp_path)


@pytest.mark.skipif("PULLBACK_DATA" not in os.environ, reason="PULLBACK_DATA names no folder")
def test_the_real_file():
    train, test = omniglot()
    assert (len(train.x), len(test.x)) == (3872, 968)
    assert len(np.unique(train.y)) == 242
