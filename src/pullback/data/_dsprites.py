"""dSprites, from the file of arrays in which it is published."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from pullback.data._arrays import read_arrays, whole_numbers
from pullback.data._errors import DataError
from pullback.data._npy import BYTES, WHOLE
from pullback.data._places import locate
from pullback.data._shapes import Factored

# In the order of the file's columns; the colour is white everywhere.
_NAMES = ("colour", "shape", "scale", "orientation", "x", "y")
_SIZES = (1, 3, 6, 40, 32, 32)
_SIDE = 64
_CHUNK = 16_384


def dsprites(
    folder: str | os.PathLike[str] | None = None,
    *,
    shrink: int = 1,
    keep: Mapping[str, Sequence[int]] | None = None,
) -> Factored:
    """dSprites: 737,280 white shapes on black, at 64 x 64 pixels, with their factors.

    They are shape (square, ellipse, heart), scale (6), orientation (40), x (32) and y (32). The
    whole set takes 3 GB while it is read and 12 GB as floats: choose a part of it by `keep`, or a
    smaller image by `shrink`.

    Args:
        folder: where the file lies, or the folder above `dsprites`. None: the folder that the
            environment variable `PULLBACK_DATA` names.
        shrink: the side of the blocks of pixels that are averaged; it divides 64.
        keep: for the named factors, the values to keep, by their places from 0. They are numbered
            anew, in the order given. A factor with one value left is not among `factors`.

    Returns:
        The images with those values, in the order of the file.

    Raises:
        ValueError: `shrink` does not divide 64, or `keep` names what there is not.
        DataError: the file is missing, or is not as published.

    Example:
        >>> found = dsprites("data", shrink=4, keep={"shape": [2]})  # doctest: +SKIP
        >>> found.x.shape, found.names  # doctest: +SKIP
        ((245760, 16, 16), ('scale', 'orientation', 'x', 'y'))

    Source: L. Matthey, I. Higgins, D. Hassabis and A. Lerchner, dSprites: Disentanglement testing
    Sprites dataset, 2017.
    """
    if shrink < 1 or _SIDE % shrink:
        raise ValueError(f"`shrink` must divide {_SIDE}, got {shrink}.")
    keep = {} if keep is None else dict(keep)
    for name, values in keep.items():
        if name not in _NAMES[1:]:
            raise ValueError(f"`keep` names {name!r}; the factors are {', '.join(_NAMES[1:])}.")
        if not values or len(set(values)) < len(values):
            raise ValueError(f"`keep` needs different values of {name}, got {list(values)}.")
    (path,) = locate("dsprites", folder)
    images, factors = _read(path)
    kept = np.ones(len(factors), bool)
    for name, values in keep.items():
        column = factors[:, _NAMES.index(name)]
        missing = sorted(set(values) - set(column.tolist()))
        if missing:
            raise ValueError(
                f"`keep` asks for {name} {missing[0]}; the file has {column.min()} to "
                f"{column.max()}."
            )
        place = np.full(column.max() + 1, -1, np.int32)
        place[list(values)] = np.arange(len(values))
        kept &= place[column] >= 0
        factors[:, _NAMES.index(name)] = place[column]
    rows = np.flatnonzero(kept)
    factors = factors[rows]
    varied = [column for column in range(len(_NAMES)) if len(np.unique(factors[:, column])) > 1]
    side = _SIDE // shrink
    x = np.empty((len(rows), side, side), np.float32)
    for start in range(0, len(rows), _CHUNK):
        some = images[rows[start : start + _CHUNK]]
        blocks = some.reshape(-1, side, shrink, side, shrink)
        x[start : start + _CHUNK] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return Factored(x, factors[:, varied], tuple(_NAMES[column] for column in varied))


def _read(path) -> tuple[np.ndarray, np.ndarray]:
    arrays = read_arrays(
        path,
        {"imgs": (BYTES, (None, _SIDE, _SIDE)), "latents_classes": (WHOLE, (None, len(_NAMES)))},
    )
    images, classes = arrays["imgs"], arrays["latents_classes"]
    if images.max(initial=0) > 1:
        raise DataError(path, f"expected imgs of bytes 0 and 1, got {images.max()}.")
    if len(images) != len(classes) or not len(images):
        raise DataError(path, f"has {len(images)} imgs and {len(classes)} rows of latents_classes.")
    columns = [
        whole_numbers(path, f"latents_classes ({name})", column, 0, size - 1, np.int32)
        for name, size, column in zip(_NAMES, _SIZES, classes.T, strict=True)
    ]
    return images, np.stack(columns, axis=1)
