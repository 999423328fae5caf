"""Omniglot's handwritten characters, from one file of arrays."""

import os

import numpy as np

from pullback.data._errors import DataError
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
    try:
        with np.load(path, allow_pickle=False) as file:
            images, characters, drawer = (file[name] for name in ("img28", "char_id", "drawer"))
    except (ValueError, OSError, KeyError) as error:
        raise DataError(
            path, f"not a file of the arrays img28, char_id and drawer ({error})."
        ) from error
    if images.dtype != np.uint8 or images.shape != (len(drawer), 28, 28):
        raise DataError(
            path,
            f"img28 is {images.dtype} of shape {images.shape}; expected bytes of shape "
            f"({len(drawer)}, 28, 28).",
        )
    held = drawer >= np.sort(np.unique(drawer))[-_HELD_OUT]
    x = (images / np.float32(255)).astype(np.float32)
    y = characters.astype(np.int32)
    return Split(Labelled(x[~held], y[~held]), Labelled(x[held], y[held]))
