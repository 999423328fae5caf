"""Omniglot's handwritten characters, from one file of arrays."""

import os

import numpy as np

from pullback.data._arrays import read_arrays, whole_numbers
from pullback.data._errors import DataError
from pullback.data._npy import BYTES, WHOLE
from pullback.data._places import locate
from pullback.data._types import Labelled, Split

_HELD_OUT = 4  # drawers


def omniglot(folder: str | os.PathLike[str] | None = None) -> Split:
    """Omniglot: handwritten characters of many alphabets, each by 20 people, at 28 x 28 pixels.

    The last four of the people who drew are held out. It reads `omniglot_small.npz`, a file of
    arrays: `img28` `[n, 28, 28]` of bytes, 255 for ink; `char_id` `[n]`; `drawer` `[n]`.

    Args:
        folder: where the file lies, or the folder above `omniglot_small`. None: the folder that
            the environment variable `PULLBACK_DATA` names.

    Returns:
        `x` float32 images `[n, 28, 28]` in [0, 1], ink as 1; `y` int32 numbers of characters.

    Raises:
        DataError: the file is missing, or is not as described.

    Example:
        >>> train, test = omniglot("data")  # doctest: +SKIP

    Source: B. Lake, R. Salakhutdinov and J. Tenenbaum, Human-Level Concept Learning Through
    Probabilistic Program Induction, Science 350 (2015).
    """
    (path,) = locate("omniglot", folder)
    arrays = read_arrays(
        path,
        {
            "img28": (BYTES, (None, 28, 28)),
            "char_id": (WHOLE, (None,)),
            "drawer": (WHOLE, (None,)),
        },
    )
    images, characters, drawer = arrays.values()
    if not len(images) == len(characters) == len(drawer):
        raise DataError(
            path,
            f"expected a character and a drawer of each image; there are {len(images)} of img28, "
            f"{len(characters)} of char_id and {len(drawer)} of drawer.",
        )
    people = np.unique(drawer)
    if len(people) <= _HELD_OUT:
        raise DataError(
            path,
            f"expected more than {_HELD_OUT} people in drawer, of whom the last {_HELD_OUT} are "
            f"held out; got {len(people)}.",
        )
    held = drawer >= people[-_HELD_OUT]
    x = (images / np.float32(255)).astype(np.float32)
    y = whole_numbers(path, "char_id", characters, 0, np.iinfo(np.int32).max, np.int32)
    return Split(Labelled(x[~held], y[~held]), Labelled(x[held], y[held]))
