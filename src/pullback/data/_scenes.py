"""Handwritten digits in front of a smooth background, with the truth of what was drawn where."""

import numbers
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pullback.data._digits import digits
from pullback.data._types import Labelled


class Scenes(NamedTuple):
    """Images of a digit in front of something, and what they were made from.

    Attributes:
        x: the images, float32 in [0, 1].
        y: which digit, 0 to 9.
        strokes: which pixels are at least a quarter covered by the digit.
        background: what is behind it, float32 in [0, 1]: the image had no digit been there.
    """

    x: Float[np.ndarray, "n side side"]
    y: Int[np.ndarray, " n"]
    strokes: Bool[np.ndarray, "n side side"]
    background: Float[np.ndarray, "n side side"]

    @property
    def labelled(self) -> Labelled:
        """The images and digits alone."""
        return Labelled(self.x, self.y)


class SceneSplit(NamedTuple):
    """Scenes to train on, and scenes to test on."""

    train: Scenes
    test: Scenes


def digit_scenes(
    *,
    side: int = 12,
    length: float = 3.0,
    level: float = 0.3,
    deviation: float = 0.25,
    copies: int = 1,
    test_fraction: float = 0.25,
    seed: int = 0,
) -> SceneSplit:
    r"""The digits of `digits`, drawn in white at a random place on a smooth random background.

    $$x = b + a (1 - b), \qquad b = \mathrm{clip}(g, 0, 1), \qquad
    g \sim \mathrm{GP}\big(m,\; \sigma^2 e^{-\lVert p - q \rVert^2 / 2 \ell^2}\big)$$

    with $a$ the ink of the digit, 0 to 1. A pixel belongs to the strokes where $a \ge 1/4$. So it
    is known which pixels decide what a classifier should say, and what would be there without them.

    Args:
        side: pixels across and down, at least the 8 of a digit, which lies wholly inside.
        length: over how many pixels the background keeps its level, $\ell$.
        level: its mean before it is cut to [0, 1], $m$.
        deviation: its standard deviation before it is cut to [0, 1], $\sigma$.
        copies: scenes of each digit, each with its own place and background.
        test_fraction: the share of the digits in the test scenes; no digit is in both parts.
        seed: of the split, the places and the backgrounds.

    Returns:
        Training and test scenes; the copies of a digit follow each other.

    Raises:
        TypeError: `side`, `copies` or `seed` is no whole number.
        ValueError: an argument is out of its range; the message says which.

    Example:
        >>> train, test = digit_scenes()
        >>> train.x.shape, test.strokes.shape
        ((1347, 12, 12), (450, 12, 12))
        >>> print(f"{test.strokes.mean():.3f}")
        0.186

    Source: the digits are those of `digits`.
    """
    for name, count in (("side", side), ("copies", copies), ("seed", seed)):
        if isinstance(count, bool) or not isinstance(count, numbers.Integral):
            raise TypeError(f"`{name}` must be a whole number, got {count!r}.")
    if seed < 0:
        raise ValueError(f"`seed` must be 0 or more, got {seed}.")
    if side < 8:
        raise ValueError(f"`side` must be at least 8, the size of a digit, got {side}.")
    if not 0 < length < np.inf:
        raise ValueError(f"`length` must be above 0 and finite, got {length}.")
    if not 0 <= level <= 1:
        raise ValueError(f"`level` must lie between 0 and 1, got {level}.")
    if not 0 <= deviation < np.inf:
        raise ValueError(f"`deviation` must be at least 0 and finite, got {deviation}.")
    if copies < 1:
        raise ValueError(f"`copies` must be at least 1, got {copies}.")
    parts = digits(test_fraction=test_fraction, seed=seed)
    # Not the split's own seed: its permutation is made of the same numbers.
    generators = np.random.default_rng([seed, 1]).spawn(2)
    train, test = (
        _scenes(part, side, length, level, deviation, copies, generator)
        for part, generator in zip(parts, generators, strict=True)
    )
    return SceneSplit(train, test)


def _scenes(
    digits: Labelled,
    side: int,
    length: float,
    level: float,
    deviation: float,
    copies: int,
    generator: np.random.Generator,
) -> Scenes:
    drawn, y = (np.repeat(each, copies, axis=0) for each in digits)
    size = drawn.shape[1]
    corner = generator.integers(0, side - size + 1, size=(len(drawn), 2))
    # Where each pixel of the scene lies in the digit; ink has a border of nothing all around.
    at = np.clip(np.arange(side) - corner[..., None], -1, size) + 1
    ink = np.pad(drawn, ((0, 0), (1, 1), (1, 1)))
    rows, down, across = np.arange(len(drawn))[:, None, None], at[:, 0, :, None], at[:, 1, None]
    ink = ink[rows, down, across]
    root = _root(side, length)
    noise = generator.normal(size=(len(drawn), side, side))
    background = np.clip(level + deviation * (root @ noise @ root), 0, 1).astype(np.float32)
    return Scenes(background + ink * (1 - background), y, ink >= 0.25, background)


def _root(side: int, length: float) -> Float[np.ndarray, "side side"]:
    """The symmetric root of the covariance along one axis; of the plane it is a product of two."""
    # Beyond these nothing and all of a level is kept, to the bit; and squares would overflow.
    length = min(max(length, 1e-100), 1e100)
    distance = np.arange(side)[:, None] - np.arange(side)[None]
    values, vectors = np.linalg.eigh(np.exp(-(distance**2) / (2 * length**2)))
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
