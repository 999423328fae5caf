"""Images as the small networks of several experiments take them."""

import numpy as np

from pullback.data import Labelled, Split


def in_blocks(data: Split, side: int) -> Split:
    """Images averaged in blocks of `side` by `side` pixels."""
    return Split(*(Labelled(averaged(part.x, side), part.y) for part in data))


def averaged(images: np.ndarray, side: int) -> np.ndarray:
    """Means of `side` by `side` pixels of images `[n, height, width]`."""
    n, height, width = images.shape
    return images.reshape(n, height // side, side, width // side, side).mean(axis=(2, 4))
