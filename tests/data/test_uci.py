"""UCI's tables by their published splits."""

import os
from pathlib import Path

import numpy as np
import pytest

from pullback.data import DataError, locate, uci_regression

DATA = Path(os.environ.get("PULLBACK_DATA", "nowhere"))
HERE = (DATA / "uci_regression" / "yacht.npz").exists()


def write(folder, name="yacht", **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.normal(size=(10, 3)), "y": rng.normal(size=10),
        "train_idx": np.stack([np.arange(1, 10), np.arange(9)]).astype(np.uint16),
        "test_idx": np.asarray([[0], [9]], np.uint16),
    }  # fmt: skip
    arrays |= changes
    np.savez(folder / f"{name}.npz", **arrays)
    return arrays


def test_rows_come_as_the_split_says(tmp_path):
    arrays = write(tmp_path)
    train, test = uci_regression("yacht", 1, folder=tmp_path)
    np.testing.assert_array_equal(train.x, arrays["x"][:9])
    np.testing.assert_array_equal(test.y, arrays["y"][9:])
    first = uci_regression("yacht", folder=tmp_path)
    np.testing.assert_array_equal(first.test.x, arrays["x"][:1])


@pytest.mark.parametrize("split", [2, -1, True])
def test_a_split_that_is_not_there_is_refused(tmp_path, split):
    write(tmp_path)
    with pytest.raises(ValueError, match=r"`split` of yacht must be 0 to 1"):
        uci_regression("yacht", split, folder=tmp_path)


def test_a_table_without_a_known_target_is_refused():
    with pytest.raises(ValueError, match=r"whose targets are known; got 'iris'.*`read_table`"):
        uci_regression("iris")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"x": np.full((10, 3), np.nan)}, "finite"),
        ({"x": np.zeros((9, 3))}, "as many"),
        ({"x": np.full((10, 3), 1j)}, "expected numbers in x, got complex128"),
        ({"train_idx": np.full((2, 9), np.nan)}, "expected whole numbers in train_idx"),
        ({"test_idx": np.zeros((1, 1), int)}, "as many rows of test_idx as of train_idx"),
        ({"test_idx": np.asarray([[1], [9]], np.uint16)}, "each of 10 rows once"),
        ({"y": np.zeros((10, 1))}, "expected y of shape n"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, changes, match):
    write(tmp_path, **changes)
    with pytest.raises(DataError, match=match):
        uci_regression("yacht", folder=tmp_path)
    with pytest.raises(DataError, match="not found"):
        uci_regression("energy", folder=tmp_path)


@pytest.mark.skipif(not HERE, reason="PULLBACK_DATA has no folder uci_regression")
def test_the_published_tables():
    for file in locate("uci"):
        split = uci_regression(file.stem, 4)
        raw = np.load(file, allow_pickle=False)
        assert len(split.train.y) + len(split.test.y) == len(raw["y"])
        np.testing.assert_array_equal(split.test.x, raw["x"][raw["test_idx"][4]])
