"""The subset of CIFAR-10, from files of its format."""

import numpy as np
import pytest

from pullback.data import DataError, cifar10_subset


def test_images_and_labels(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "train3.npz", images=images, labels=np.array([1, 2, 3]))
    np.savez(tmp_path / "test2.npz", images=images[:2], labels=np.array([4, 5]))
    train, test = cifar10_subset(tmp_path)
    np.testing.assert_array_equal(np.round(255 * train.x), images)
    assert test.y.tolist() == [4, 5]


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"train\*.npz: not found"):
        cifar10_subset(tmp_path)
    np.savez(tmp_path / "test.npz", images=np.zeros((3, 4)), labels=np.zeros(3))
    np.savez(tmp_path / "train.npz", images=np.zeros((3, 4)), labels=np.zeros(3))
    with pytest.raises(DataError, match="expected images of shape n x 32 x 32 x 3"):
        cifar10_subset(tmp_path)
    np.savez(tmp_path / "train.npz", other=np.zeros(3))
    with pytest.raises(DataError, match="has no array images, labels; it has other"):
        cifar10_subset(tmp_path)
