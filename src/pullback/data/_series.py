"""Time series: the spirals that the latent ODE is fitted to."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class Series(NamedTuple):
    """Noisy series on one time grid, with the truth and its continuation.

    Attributes:
        ts: times `[2 * length]`, from 0; the first half is observed.
        observed: noisy points `[n, length, 2]`.
        clean: the same points without noise, and as many after them, `[n, 2 * length, 2]`.
        clockwise: which of the two kinds of spiral each is, `[n]`.
    """

    ts: Float[np.ndarray, " two_lengths"]
    observed: Float[np.ndarray, "n length 2"]
    clean: Float[np.ndarray, "n two_lengths 2"]
    clockwise: Bool[np.ndarray, " n"]


def spiral_series(
    n: int,
    *,
    length: int = 100,
    grid: int = 500,
    turns: float = 3.0,
    a: float = 0.0,
    b: float = 0.3,
    noise: float = 0.3,
    seed: int = 0,
) -> Series:
    r"""Pieces of two spirals, one of each direction, starting at random places.

    With $\theta$ from 0 to $\Theta = 2\pi\,$`turns`, the one turns outwards as Archimedes' spiral
    and the other, clockwise, outwards from a small circle:

    $$r = a + b\theta \text{ at the angle } \theta \text{ about } (5, 0), \qquad
    r = a + \frac{50 b}{\Theta + 1 - \theta} \text{ at the angle } \Theta + 1 - \theta
    \text{ about } (-5, 0)$$

    Args:
        n: the number of series.
        length: observed points in each.
        grid: points on the whole spiral, at equal steps of the angle; at least `2 * length`.
        turns: the turns of the whole spiral.
        a: the radius at angle 0.
        b: the growth of the radius per radian.
        noise: standard deviation of the Gaussian noise on each coordinate.
        seed: of the draw.

    Returns:
        A `Series`. Its time is the angle turned since the first point.

    Raises:
        ValueError: `n` or `length` is less than 1, `noise` is negative, or `grid` is too short.

    Example:
        >>> series = spiral_series(3, length=50)
        >>> series.observed.shape, series.clean.shape
        ((3, 50, 2), (3, 100, 2))

    Source: Chen et al., arXiv 1806.07366, section 5.1; constants of `examples/latent_ode.py` in
    torchdiffeq. There a piece starts where only `length` more points follow; here as many follow
    as are observed, so that an extrapolation can be scored.
    """
    if n < 1 or length < 1 or noise < 0:
        raise ValueError(
            "`n` and `length` must be at least 1 and `noise` not negative, got "
            f"{n}, {length} and {noise}."
        )
    if grid < 2 * length:
        raise ValueError(f"`grid` must be at least 2 * length = {2 * length}, got {grid}.")
    generator = np.random.default_rng(seed)
    stop = 2 * np.pi * turns
    theta = np.linspace(0.0, stop, grid)
    inward = stop + 1 - theta
    outwards = _polar(a + b * theta, theta, centre=5.0)
    clockwise_spiral = _polar(a + 50 * b / inward, inward, centre=-5.0)
    clockwise = generator.random(n) < 0.5
    places = generator.integers(grid - 2 * length + 1, size=n)[:, None] + np.arange(2 * length)
    clean = np.where(clockwise[:, None, None], clockwise_spiral[places], outwards[places])
    observed = clean[:, :length] + noise * generator.normal(size=(n, length, 2))
    return Series(theta[: 2 * length], observed, clean, clockwise)


def _polar(
    radius: Float[np.ndarray, " m"], angle: Float[np.ndarray, " m"], *, centre: float
) -> Float[np.ndarray, "m 2"]:
    return np.stack([radius * np.cos(angle) + centre, radius * np.sin(angle)], axis=1)
