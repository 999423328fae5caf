"""The look of every figure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import matplotlib.figure

#: Colours that people with any of the common kinds of colour blindness tell apart (Okabe and Ito,
#: 2008), in an order that starts with the strongest contrasts; the order of a figure's lines.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_INK, _FAINT, _GRID = "#1f2933", "#7b8794", "#e4e7eb"


@contextmanager
def house_style(*, math: bool | None = None) -> Iterator[None]:
    """Draw in the house style inside the block, and leave Matplotlib as it was after it.

    Args:
        math: whether what stands between dollar signs is a formula; of names that are not one's
            own it is not. None leaves it as it is.

    Example:
        >>> with house_style():
        ...     fig, ax = figure()
        ...     _ = ax.plot([1, 2, 4], label="doubling")
    """
    import matplotlib
    from matplotlib.rcsetup import cycler

    style: dict[Any, Any] = {
        "axes.axisbelow": True,
        "axes.edgecolor": _FAINT,
        "axes.grid": True,
        "axes.labelcolor": _INK,
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "figure.constrained_layout.use": True,
        "figure.facecolor": "white",
        "font.family": "DejaVu Sans",  # ships with Matplotlib: the same picture everywhere
        "font.size": 10,
        "grid.color": _GRID,
        "grid.linewidth": 0.8,
        "image.cmap": "cividis",
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "lines.markersize": 5,
        "text.color": _INK,
        "text.usetex": False,  # which others do not have, and which reads names as its commands
        "xtick.color": _FAINT,
        "xtick.labelcolor": _INK,
        "ytick.color": _FAINT,
        "ytick.labelcolor": _INK,
    }
    if math is not None:
        style["text.parse_math"] = math
    if math is False:
        style["axes.formatter.use_mathtext"] = False
    with matplotlib.rc_context(style):
        yield


def figure(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float | int = 6.4,
    height: float | int = 4.0,
    sharex: bool = False,
    sharey: bool = False,
) -> "tuple[matplotlib.figure.Figure, Any]":
    """A figure in the house style that needs no screen and no closing.

    Draw inside `house_style()` too, so that lines and legends follow it.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        width: Inches over all.
        height: Inches over all.
        sharex: Whether all axes have one horizontal scale.
        sharey: Whether all axes have one vertical scale.

    Returns:
        The figure, and its one `Axes`, or the array of them as `Figure.subplots` gives it.
    """
    from matplotlib.figure import Figure

    with house_style():
        made = Figure(figsize=(width, height))
        return made, made.subplots(rows, columns, sharex=sharex, sharey=sharey)
