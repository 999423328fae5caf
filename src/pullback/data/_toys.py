"""Two-dimensional toys: points in the plane, with the part of the figure that each belongs to.

Pinwheel, checkerboard, eight Gaussians and, but for a uniform jitter, the two spirals are those of
FFJORD (Grathwohl et al., arXiv 1810.01367; `lib/toy_data.py` of its code). Moons and circles are
scikit-learn's.
"""

import numpy as np
from jaxtyping import Float

from pullback.data._types import Labelled

_RADIUS = 4 / np.sqrt(2)
_DEVIATION = 0.5 / np.sqrt(2)
_ANGLES = np.arange(8) * (np.pi / 4)
_CENTRES = _RADIUS * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def two_moons(n: int, *, noise: float = 0.08, seed: int = 0) -> Labelled:
    """Two interleaved half circles of radius 1.

    Args:
        n: the number of points.
        noise: standard deviation of the Gaussian noise on each coordinate.
        seed: of the draw.

    Returns:
        `x` `[n, 2]`, and `y` `[n]`, which half circle.

    Raises:
        ValueError: `n < 1` or `noise < 0`.

    Example:
        >>> two_moons(100).x.shape
        (100, 2)
    """
    _check(n, noise)
    from sklearn.datasets import make_moons

    x, y = make_moons(n, noise=noise, random_state=seed)
    return Labelled(np.asarray(x), np.asarray(y))


def two_circles(n: int, *, noise: float = 0.06, factor: float = 0.5, seed: int = 0) -> Labelled:
    """A circle of radius 1 and one of radius `factor` inside it.

    Args:
        n: the number of points.
        noise: standard deviation of the Gaussian noise on each coordinate.
        factor: radius of the inner circle, between 0 and 1.
        seed: of the draw.

    Returns:
        `x` `[n, 2]`, and `y` `[n]`: 0 outside, 1 inside.

    Raises:
        ValueError: `n < 1` or `noise < 0`.

    Example:
        >>> two_circles(100).x.shape
        (100, 2)
    """
    _check(n, noise)
    from sklearn.datasets import make_circles

    x, y = make_circles(n, noise=noise, factor=factor, random_state=seed)
    return Labelled(np.asarray(x), np.asarray(y))


def eight_gaussians(n: int, *, seed: int = 0) -> Labelled:
    r"""An equal mixture of eight Gaussians on a circle, whose density is known.

    $$p(x) = \tfrac18 \sum_{k=0}^{7} N\big(x;\ \tfrac{4}{\sqrt2}(\cos\tfrac{k\pi}{4},
    \sin\tfrac{k\pi}{4}),\ \tfrac{0.5^2}{2} I\big)$$

    Its entropy is 2.8316 nats: no model has a lower expected negative log-likelihood.

    Args:
        n: the number of points.
        seed: of the draw.

    Returns:
        `x` `[n, 2]`, and `y` `[n]`, which Gaussian.

    Raises:
        ValueError: `n < 1`.

    Example:
        >>> eight_gaussians(100).x.shape
        (100, 2)
    """
    _check(n)
    generator = np.random.default_rng(seed)
    component = generator.integers(8, size=n)
    return Labelled(_CENTRES[component] + _DEVIATION * generator.normal(size=(n, 2)), component)


def eight_gaussians_log_prob(x: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """The log-density that `eight_gaussians` draws from, in nats.

    Args:
        x: points, `[n, 2]`.

    Returns:
        `[n]`.

    Example:
        >>> import numpy as np
        >>> eight_gaussians_log_prob(np.array([[4 / np.sqrt(2), 0.0]])).round(4)
        array([-1.8379])
    """
    squares = np.sum((x[:, None, :] - _CENTRES) ** 2, axis=-1)
    exponents = -squares / (2 * _DEVIATION**2)
    return np.logaddexp.reduce(exponents, axis=-1) - np.log(8 * 2 * np.pi * _DEVIATION**2)


def pinwheel(n: int, *, arms: int = 5, seed: int = 0) -> Labelled:
    """Gaussian blobs stretched along the radius and bent round the origin.

    Args:
        n: the number of points.
        arms: the number of blobs.
        seed: of the draw.

    Returns:
        `x` `[n, 2]`, and `y` `[n]`, which arm.

    Raises:
        ValueError: `n < 1` or `arms < 1`.

    Example:
        >>> pinwheel(100).x.shape
        (100, 2)
    """
    _check(n)
    if arms < 1:
        raise ValueError(f"`arms` must be at least 1, got {arms}.")
    generator = np.random.default_rng(seed)
    arm = generator.integers(arms, size=n)
    along = 1 + 0.3 * generator.normal(size=n)
    across = 0.1 * generator.normal(size=n)
    angle = 2 * np.pi * arm / arms + 0.25 * np.exp(along)
    cos, sin = np.cos(angle), np.sin(angle)
    x = 2 * np.stack([along * cos + across * sin, across * cos - along * sin], axis=1)
    return Labelled(x, arm)


def checkerboard(n: int, *, seed: int = 0) -> Labelled:
    """Uniform points on the eight dark squares of a 4 x 4 board with sides of length 2.

    The density is 1/32 on them, so the entropy is log 32 = 3.4657 nats.

    Args:
        n: the number of points.
        seed: of the draw.

    Returns:
        `x` `[n, 2]` in [-4, 4), and `y` `[n]`, which square.

    Raises:
        ValueError: `n < 1`.

    Example:
        >>> checkerboard(100).x.shape
        (100, 2)
    """
    _check(n)
    generator = np.random.default_rng(seed)
    square = generator.integers(8, size=n)
    column, row = square // 2, 2 * (square % 2) + (square // 2) % 2
    corner = 2.0 * np.stack([column, row], axis=1) - 4
    return Labelled(corner + 2 * generator.random((n, 2)), square)


def spirals(n: int, *, noise: float = 0.1, seed: int = 0) -> Labelled:
    """Two spirals of one and a half turns, each the other turned by half a turn.

    Args:
        n: the number of points.
        noise: standard deviation of the Gaussian noise on each coordinate.
        seed: of the draw.

    Returns:
        `x` `[n, 2]`, and `y` `[n]`, which spiral.

    Raises:
        ValueError: `n < 1` or `noise < 0`.

    Example:
        >>> spirals(100).x.shape
        (100, 2)
    """
    _check(n, noise)
    generator = np.random.default_rng(seed)
    arm = generator.integers(2, size=n)
    # The square root spreads the points evenly over the length of the spiral.
    angle = np.sqrt(generator.random(n)) * 3 * np.pi
    curve = np.stack([-np.cos(angle), np.sin(angle)], axis=1) * angle[:, None] / 3
    side = np.where(arm == 0, 1.0, -1.0)[:, None]
    return Labelled(side * curve + noise * generator.normal(size=(n, 2)), arm)


def _check(n: int, noise: float = 0.0) -> None:
    if n != int(n) or n < 1:
        raise ValueError(f"`n` must be a whole number, at least 1, got {n}.")
    if noise < 0:
        raise ValueError(f"`noise` must not be negative, got {noise}.")
