"""MNIST and Fashion-MNIST from idx files that lie somewhere on this machine."""

import os
from pathlib import Path

import numpy as np

from pullback.data._errors import DataError
from pullback.data._idx import read_idx
from pullback.data._places import locate
from pullback.data._types import Labelled, Split


def mnist(folder: str | os.PathLike[str] | None = None) -> Split:
    """The MNIST database: 60,000 and 10,000 handwritten digits of 28 x 28 pixels.

    Args:
        folder: where the four idx files lie, gzipped or not, or the folder above `mnist`. None:
            the folder that the environment variable `PULLBACK_DATA` names, then the cache that
            `fetch("mnist")` fills.

    Returns:
        `x` float32 images `[n, 28, 28]` in [0, 1], `y` int32 classes 0 to 9.

    Raises:
        DataError: a file is missing, cut off or malformed.

    Example:
        >>> train, test = mnist("data")  # doctest: +SKIP
        >>> train.x.shape  # doctest: +SKIP
        (60000, 28, 28)

    Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits.
    """
    return _load("mnist", folder)


def fashion_mnist(folder: str | os.PathLike[str] | None = None) -> Split:
    """Fashion-MNIST: 60,000 and 10,000 pictures of clothes of 28 x 28 pixels, in ten classes.

    The files have the names of MNIST's, so `PULLBACK_DATA` has to hold them in a folder
    `fashion-mnist`.

    Args:
        folder: as for `mnist`, with `fashion-mnist` as the name of the folder.

    Returns:
        `x` float32 images `[n, 28, 28]` in [0, 1], `y` int32 classes 0 to 9.

    Raises:
        DataError: a file is missing, cut off or malformed.

    Example:
        >>> train, test = fashion_mnist("data")  # doctest: +SKIP

    Source: H. Xiao, K. Rasul and R. Vollgraf, arXiv 1708.07747.
    """
    return _load("fashion-mnist", folder)


def _load(name: str, folder: str | os.PathLike[str] | None) -> Split:
    images, labels, test_images, test_labels = locate(name, folder)
    return Split(_labelled(images, labels), _labelled(test_images, test_labels))


def _labelled(images_file: Path, labels_file: Path) -> Labelled:
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.shape[1:] != (28, 28) or images.dtype != np.uint8:
        raise DataError(
            images_file,
            f"expected images of 28 x 28 bytes, got {images.dtype} of shape {images.shape}.",
        )
    if labels.shape != images.shape[:1] or labels.dtype != np.uint8:
        raise DataError(
            labels_file,
            f"expected one byte for each of the {len(images)} images in {images_file.name}, got "
            f"{labels.dtype} of shape {labels.shape}.",
        )
    if not len(images):
        raise DataError(images_file, "expected images; there is none.")
    if labels.max() > 9:
        where = int(np.argmax(labels > 9))
        raise DataError(labels_file, f"expected classes 0 to 9, got {labels[where]} at {where}.")
    return Labelled(images.astype(np.float32) / np.float32(255), labels.astype(np.int32))
