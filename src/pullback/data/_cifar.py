"""A subset of CIFAR-10, as two npz files."""

import os
from pathlib import Path

import numpy as np

from pullback.data._arrays import read_arrays, whole_numbers
from pullback.data._errors import DataError
from pullback.data._npy import BYTES, WHOLE
from pullback.data._places import locate
from pullback.data._types import Labelled, Split


def cifar10_subset(folder: str | os.PathLike[str] | None = None) -> Split:
    """A subset of CIFAR-10 from `train*.npz` and `test*.npz`, each with `images` and `labels`.

    Args:
        folder: where the two files lie, or the folder above `cifar10_subset`. None: the folder
            that the environment variable `PULLBACK_DATA` names, then the cache of this user.

    Returns:
        `x` float32 images `[n, 32, 32, 3]` in [0, 1], `y` int32 classes 0 to 9.

    Raises:
        DataError: a file is missing, doubled or malformed.

    Example:
        >>> train, test = cifar10_subset("data/cifar10_subset")  # doctest: +SKIP

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """
    return Split(*map(_part, locate("cifar10", folder)))


def _part(file: Path) -> Labelled:
    arrays = read_arrays(file, {"images": (BYTES, (None, 32, 32, 3)), "labels": (WHOLE, (None,))})
    images, labels = arrays["images"], arrays["labels"]
    if len(images) != len(labels) or not len(images):
        raise DataError(
            file, f"expected images and a label for each; got {len(images)} and {len(labels)}."
        )
    y = whole_numbers(file, "labels", labels, 0, 9, np.int32)
    return Labelled(images.astype(np.float32) / 255, y)
