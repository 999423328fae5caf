"""The few kinds of plot that many recipes draw."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.image


def line_with_spread(
    ax: "matplotlib.axes.Axes",
    x: Any,
    values: Any,
    *,
    label: str | None = None,
    colour: str | None = None,
    marker: str | None = "o",
) -> None:
    """Draw the mean over seeds as a line, and a band of one standard deviation on either side.

    Args:
        ax: Where to draw.
        x: Positions, an array of shape `(points,)`.
        values: One row a seed, an array of shape `(seeds, points)`.
        label: The line's name in the legend.
        colour: The line's colour; the next of the palette when `None`.
        marker: Marks the points that were measured; `None` for a smooth curve.

    Raises:
        ValueError: The shapes do not fit together.

    Example:
        >>> from pullback.plots import figure, house_style
        >>> with house_style():
        ...     fig, ax = figure()
        ...     line_with_spread(ax, [1, 2], [[3.0, 4.0], [3.2, 4.4]], label="two seeds")
    """
    import numpy as np

    x, values = np.asarray(x), np.asarray(values)
    if values.ndim != 2 or x.shape != values.shape[1:]:
        raise ValueError(
            f"x has shape {x.shape} and values {values.shape}; "
            "give x of shape (points,) and values of shape (seeds, points)"
        )
    mean = values.mean(axis=0)
    (line,) = ax.plot(x, mean, label=label, color=colour, marker=marker)
    if len(values) > 1:
        spread = values.std(axis=0, ddof=1)
        ax.fill_between(
            x, mean - spread, mean + spread, color=line.get_color(), alpha=0.2, linewidth=0
        )


def density_image(
    ax: "matplotlib.axes.Axes",
    density: Any,
    extent: Sequence[float | int],
    *,
    points: Any = None,
    title: str = "",
) -> "matplotlib.image.AxesImage":
    """Draw a density in the plane as an image, and samples over it as dots.

    Args:
        ax: Where to draw.
        density: Values on a grid, shape `(rows, columns)`; row 0 lies at the bottom.
        extent: Left, right, bottom and top of the grid.
        points: Samples of shape `(samples, 2)`, or `None`.
        title: The title of the axes.

    Returns:
        The image, for a colour bar or a shared colour scale.

    Example:
        >>> from pullback.plots import figure, house_style
        >>> with house_style():
        ...     fig, ax = figure(width=3, height=3)
        ...     image = density_image(ax, [[0.0, 1.0], [2.0, 3.0]], (-1, 1, -1, 1))
    """
    import numpy as np

    left, right, bottom, top = extent
    image = ax.imshow(
        np.asarray(density),
        extent=(left, right, bottom, top),
        origin="lower",
        interpolation="bilinear",
        cmap="cividis",
    )
    if points is not None:
        x, y = np.asarray(points).T
        ax.scatter(x, y, s=3, color="white", alpha=0.5, linewidths=0)
    ax.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[], title=title)
    ax.grid(False)
    ax.set_aspect("equal")
    return image


def image_sheet(
    ax: "matplotlib.axes.Axes",
    images: Any,
    *,
    rows: Sequence[str] = (),
    title: str = "",
) -> None:
    """Draw images side by side, each row with its label: black is 1, white is 0.

    Args:
        ax: Where to draw.
        images: Grey levels in [0, 1], of shape `(rows, columns, height, width)`, or colours
            `(rows, columns, height, width, 3)`.
        rows: A label for each row, or none at all.
        title: The title of the axes.

    Raises:
        ValueError: There are not as many labels as rows, or the images have another shape.

    Example:
        >>> import numpy as np
        >>> from pullback.plots import figure, house_style
        >>> with house_style():
        ...     fig, ax = figure(width=3, height=3)
        ...     image_sheet(ax, np.eye(4).reshape(1, 1, 4, 4), rows=["a line"])
    """
    import numpy as np

    images = np.asarray(images)
    coloured = images.ndim == 5 and images.shape[4] == 3
    if not (images.ndim == 4 or coloured) or (len(rows) not in (0, len(images))):
        raise ValueError(
            f"images has shape {images.shape} and there are {len(rows)} labels; give images of "
            "shape (rows, columns, height, width) and a label for each row"
        )
    count, columns, height, width = images.shape[:4]
    edge = 1.0 if coloured else 0.0  # white, in either scale
    tiles = np.pad(
        images.reshape(count, columns, height, width, -1),
        ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0)),
        constant_values=edge,
    )
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(count * (height + 1), columns * (width + 1), -1)
    sheet = sheet if coloured else sheet[..., 0]
    ax.imshow(sheet[:-1, :-1], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    middles = [i * (height + 1) + height / 2 for i in range(len(rows))]
    ax.set_yticks(middles, list(rows))
    ax.set(xticks=[], title=title)
    ax.grid(False)


def rate_distortion_axes(ax: "matplotlib.axes.Axes", *, lines: int = 6) -> None:
    """Make axes with points of rate and distortion a plane, with lines of equal ELBO.

    Along a line the sum of the two, minus the ELBO, is the same; from one line to the next it grows
    by the same step. Call it when all points are drawn.

    Args:
        ax: Where models were drawn, each at its rate and its distortion in nats.
        lines: How many lines, from the model of the best ELBO on.

    Raises:
        ValueError: Nothing was drawn.

    Example:
        >>> from pullback.plots import figure, house_style
        >>> with house_style():
        ...     fig, ax = figure(width=4, height=3)
        ...     points = ax.plot([0.0, 4.0], [20.0, 14.0], "o", label="two models")
        ...     rate_distortion_axes(ax)
    """
    import numpy as np

    drawn = [np.stack([*map(np.asarray, line.get_data())], axis=1) for line in ax.get_lines()]
    points = np.concatenate([np.zeros((0, 2)), *drawn])
    if not len(points):
        raise ValueError("nothing was drawn: draw the points first, rate along x")
    best = points.sum(axis=1).min()
    right, top = 1.05 * max(points[:, 0].max(), 1e-6), 1.05 * points[:, 1].max()
    for level in best + np.arange(lines) * max((right + top - best) / lines, 1e-6):
        ax.plot([0, level], [level, 0], color="#7b8794", linewidth=0.6, linestyle=":")
    ax.set(xlim=(-0.02 * right, right), ylim=(0, top))
    ax.set(xlabel="rate R (nats)", ylabel="distortion D (nats)")
