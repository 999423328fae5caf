"""How the recipe `i-resnet` shows what it measured."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, figure, image_sheet, line_with_spread
from pullback.runs import Context

_SHOWN = (0, 1, 3, 10, 30)  # iterations whose images are shown
_FLOOR = 1e-8


def draw_inverse(
    context: Context, found: Mapping[str, Mapping[str, np.ndarray]], at: Sequence[int]
) -> None:
    """Error after so many iterations, and accuracy, of each kind."""
    fig, (left, right) = figure(1, 2, width=10.0, height=4.0)
    # Orange without a bound.
    colours = cycle((PALETTE[1], PALETTE[0], *PALETTE[2:6]))
    for place, ((name, row), colour) in enumerate(zip(found.items(), colours, strict=False)):
        curves = np.log10(np.maximum(np.median(row["errors"], axis=2), _FLOOR))
        line_with_spread(left, np.asarray(at) + 1.0, curves, label=name, colour=colour)
        accuracy = 100 * row["accuracy"]
        right.plot(np.full(len(accuracy), place), accuracy, "o", color=colour, alpha=0.7)
        right.hlines(accuracy.mean(), place - 0.3, place + 0.3, color=colour)
    left.set_xscale("log")
    shown = [n for n in _SHOWN if n <= at[-1]]
    left.set_xticks([n + 1 for n in shown], [str(n) for n in shown])
    left.minorticks_off()
    left.set_ylim(None, 8.5)
    ticks = range(-8, 9, 2)
    left.set_yticks(ticks, [f"$10^{{{tick}}}$" for tick in ticks])
    left.set(xlabel="iterations of each block", ylabel="distance from the image")
    left.set_title("error of the inverse")
    left.legend(fontsize=8)
    right.set_xticks(range(len(found)), list(found))
    right.set(ylabel="test accuracy (%)", title="what the bound costs", xlim=(-0.6, None))
    right.grid(axis="x", visible=False)
    context.figure(
        "inverse",
        fig,
        "Left: features of held-out images are carried back through all blocks, by so many "
        "iterations of each; the median over images, and a band of one deviation over seeds. A "
        "bound on every layer makes the iteration a contraction, and it ends at the rounding of "
        "32 bits; without one it diverges, and leaves the picture. Right: accuracy, a dot a "
        "seed.",
    )


def draw_images(
    context: Context, x: np.ndarray, found: Mapping[str, Mapping[str, np.ndarray]],
    at: Sequence[int],
) -> None:  # fmt: skip
    """Images from their features, by more and more iterations."""
    fig, axes = figure(1, len(found), width=3.4 * len(found), height=2.7)
    shown = [n for n in _SHOWN if n in at]
    for ax, (name, row) in zip(axes, found.items(), strict=True):
        sheet = np.stack([x, *(row["images"][0, at.index(n)] for n in shown)])
        pictures = _pictures(sheet.reshape(-1, *x.shape[1:]))
        pictures = pictures.reshape(*sheet.shape[:2], *pictures.shape[1:])
        image_sheet(ax, np.clip(pictures, 0, 1), rows=["image", *(f"n = {n}" for n in shown)])
        ax.tick_params(axis="y", labelsize=8)
        ax.set_title(name, fontsize=10)
    context.figure(
        "images",
        fig,
        "Held-out images, and what n iterations of each block make of their features (grey levels "
        "cut at black and white). With a bound the image is back; without one the iteration is "
        "thrown ever farther.",
    )


def _pictures(x: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n height width"]:
    """Grey levels of vectors, or of channels that hold neighbours."""
    side = round(float(x[0].size) ** 0.5)
    if x.ndim == 4:
        x = x.reshape(-1, 4, 4, *x.shape[2:]).transpose(0, 3, 1, 4, 2)
    return (x.reshape(-1, side, side) + 1) / 2


def draw_samples(context: Context, x: np.ndarray, samples: np.ndarray) -> None:
    """Held-out images beside samples."""
    fig, axes = figure(1, 2, width=8.4, height=2.6)
    titles = ("held-out images", "samples of the i-ResNet")
    for ax, rows, title in zip(axes, (x[: len(samples)], samples), titles, strict=True):
        pixels = np.clip(np.nan_to_num(rows[:, 0]), 0, 1)
        image_sheet(ax, pixels.reshape(-1, 8, *pixels.shape[1:]), title=title)
    context.figure(
        "samples", fig,
        "A network of residual blocks that is a density and a classifier in one: samples by its "
        "inverse (first seed).",
    )  # fmt: skip
