"""Pictures of one shape, on a grid of all combinations of known factors."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True, eq=False)
class Factored:
    """Images, and what each was made from.

    Attributes:
        x: float32 images in [0, 1], `[n, height, width]`.
        factors: the place of each factor among its values, from 0, int32 `[n, factors]`.
        names: of the factors.
    """

    x: Float[np.ndarray, "n height width"]
    factors: Int[np.ndarray, "n factors"]
    names: tuple[str, ...]


def soft_squares(*, resolution: int = 12, places: int = 10, sizes: int = 5) -> Factored:
    """A square with blurred edges, at every place and of every size.

    The factors "x", "y" and "size" vary independently: there is one image of each combination. The
    largest square reaches the border of the image where it is furthest out.

    Args:
        resolution: pixels across and down.
        places: how many places across, and down.
        sizes: how many sizes, from a sixth to two fifths of the image.

    Raises:
        ValueError: `resolution` is below 8, or there are fewer than 2 places or sizes.

    Example:
        >>> soft_squares().x.shape
        (500, 12, 12)
    """
    for name, value, least in (
        ("resolution", resolution, 8), ("places", places, 2), ("sizes", sizes, 2),
    ):  # fmt: skip
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    halves = np.linspace(resolution / 12, resolution / 5, sizes)
    centres = np.linspace(halves[-1], resolution - halves[-1], places)
    pixels = np.arange(resolution) + 0.5
    # How much of each pixel's line lies within the half width of the centre, [place, size, pixel].
    inside = halves[None, :, None] - np.abs(pixels[None, None] - centres[:, None, None])
    bands = 1 / (1 + np.exp(-3 * inside))
    factors = _grid((places, places, sizes))
    across, down, size = factors.T
    x = bands[down, size][:, :, None] * bands[across, size][:, None, :]
    return Factored(x.astype(np.float32), factors, ("x", "y", "size"))


# Inside where negative; each is about as large as the unit circle.
_KINDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) - math.sqrt(math.pi) / 2,
    "ellipse": lambda u, v: (u / 1.35) ** 2 + (v * 1.35) ** 2 - 1,
    "heart": lambda u, v: (u**2 + (v - 0.27) ** 2 - 0.8) ** 3 + u**2 * (v - 0.27) ** 3,
}
_FINE = 4  # lines of points in a pixel, each way
_REACH = 1.4  # of any kind from its centre, in radii


def drawn_shapes(
    kinds: Sequence[str] = ("square", "ellipse", "heart"),
    *,
    scales: int = 4,
    orientations: int = 8,
    places: int = 8,
    resolution: int = 16,
) -> Factored:
    """A white square, ellipse or heart of every size, turned every way, at every place.

    It is like dSprites and needs no file. The factors "shape", "scale", "orientation", "x" and "y"
    vary independently; one with a single value is not among `factors`. A turned square is the same
    after a quarter of a turn, and an ellipse after half a turn.

    Args:
        kinds: of "square", "ellipse" and "heart".
        scales: how many sizes, from half of the largest.
        orientations: how many angles, equal parts of a whole turn.
        places: how many places across, and down.
        resolution: pixels across and down.

    Raises:
        ValueError: a kind is unknown or there is none, or a number is below 1.

    Example:
        >>> found = drawn_shapes(("heart",), scales=2, orientations=4, places=3)
        >>> found.x.shape, found.names
        ((72, 16, 16), ('scale', 'orientation', 'x', 'y'))

    Source: after Matthey et al., dSprites: Disentanglement testing Sprites dataset, 2017.
    """
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown or not kinds:
        raise ValueError(f"`kinds` must be one or more of {', '.join(_KINDS)}; got {kinds!r}.")
    for name, value in (
        ("scales", scales), ("orientations", orientations), ("places", places),
        ("resolution", resolution),
    ):  # fmt: skip
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    radii = np.linspace(0.5, 1, scales) * 0.2
    angles = np.arange(orientations) * (2 * math.pi / orientations)
    # The ellipse reaches 0.27 from its centre.
    centres = np.linspace(0.32, 0.68, places) if places > 1 else np.array([0.5])
    sizes = {
        "shape": len(kinds), "scale": scales, "orientation": orientations, "x": places, "y": places,
    }  # fmt: skip
    factors = _grid(tuple(sizes.values()))
    points = (np.arange(resolution * _FINE) + 0.5) / (resolution * _FINE)
    x = np.zeros((len(factors), resolution, resolution), np.float32)
    for row, (kind, scale, turn, across, down) in enumerate(factors.tolist()):
        radius = radii[scale]
        columns, rows = (_near(centres[at], radius, resolution) for at in (across, down))
        fine = lambda some: points[some.start * _FINE : some.stop * _FINE]
        right = (fine(columns) - centres[across])[None, :] / radius
        below = (fine(rows) - centres[down])[:, None] / radius
        cos, sin = math.cos(angles[turn]), math.sin(angles[turn])
        inside = _KINDS[kinds[int(kind)]](cos * right + sin * below, cos * below - sin * right) < 0
        blocks = inside.reshape(-1, _FINE, inside.shape[1] // _FINE, _FINE)
        x[row, rows, columns] = blocks.mean(axis=(1, 3))
    varied = [place for place, size in enumerate(sizes.values()) if size > 1]
    return Factored(x, factors[:, varied], tuple(np.array([*sizes])[varied].tolist()))


def _near(centre: float, radius: float, resolution: int) -> slice:
    """The pixels of a line that a shape can reach."""
    first = math.floor((centre - _REACH * radius) * resolution)
    return slice(max(0, first), math.ceil((centre + _REACH * radius) * resolution))


def _grid(sizes: tuple[int, ...]) -> Int[np.ndarray, "n factors"]:
    """Every combination of places, the last factor fastest."""
    return np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1).astype(np.int32)
