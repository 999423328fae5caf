"""Real handwritten digits that need no download."""

from numbers import Real

import numpy as np

from pullback.data._types import Labelled, Split


def digits(*, test_fraction: float = 0.25, seed: int = 0) -> Split:
    """The 1,797 handwritten digits of 8 x 8 pixels that scikit-learn brings with it.

    Args:
        test_fraction: the share of the examples held out, with the classes in equal proportions;
            0.01 to 0.99, so that all are in both parts.
        seed: which examples those are.

    Returns:
        `x` float32 images `[n, 8, 8]` in [0, 1] (the file's 0 to 16, divided by 16), `y` int32
        classes 0 to 9.

    Raises:
        ValueError: `test_fraction` is not between 0.01 and 0.99.

    Example:
        >>> train, test = digits()
        >>> train.x.shape, test.x.shape, train.x.dtype
        ((1347, 8, 8), (450, 8, 8), dtype('float32'))

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its
    test set).
    """
    # All ten classes must be in both parts.
    if not isinstance(test_fraction, Real) or not 0.01 <= test_fraction <= 0.99:
        raise ValueError(f"`test_fraction` must lie between 0.01 and 0.99, got {test_fraction!r}.")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, classes = map(np.asarray, load_digits(return_X_y=True))
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8)
    parts = train_test_split(
        np.arange(len(classes)), test_size=test_fraction, random_state=seed, stratify=classes
    )
    train, test = (
        Labelled(images[rows], classes[rows].astype(np.int32)) for rows in map(np.asarray, parts)
    )
    return Split(train, test)
