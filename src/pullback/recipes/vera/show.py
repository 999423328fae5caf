"""How the recipe `vera` shows what it measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, density_image, figure, image_sheet
from pullback.recipes.vera.measure import HALF_WIDTH
from pullback.runs import Context

_BOX = (-HALF_WIDTH, HALF_WIDTH, -HALF_WIDTH, HALF_WIDTH)
_SHOWN = 600  # points over a density


def draw_ring(
    context: Context, points: Float[np.ndarray, "n 2"], found: Mapping[str, Mapping[str, Any]]
) -> None:
    """The learned densities of the first seed, with the samples of its generator."""
    fig, axes = figure(1, 1 + len(found), width=3.0 * (1 + len(found)), height=3.5)
    axes[0].scatter(*points[:_SHOWN].T, s=3, color=PALETTE[0], alpha=0.5, linewidths=0)
    axes[0].set(xlim=_BOX[:2], ylim=_BOX[2:], xticks=[], yticks=[], title="data")
    axes[0].set_aspect("equal")
    axes[0].grid(False)
    for ax, (name, row) in zip(axes[1:], found.items(), strict=True):
        density_image(ax, row["density"][0], _BOX, points=row["samples"][0][:_SHOWN], title=name)
    context.figure(
        "ring",
        fig,
        "Bright is where the energy puts its density; white dots are samples of the generator that "
        "it was trained against. With the entropy density and samples are at the eight Gaussians. "
        "Without it the samples shrink to a thin string, and nothing tells the energy where else "
        "it has put its density.",
    )


def draw_digits(
    context: Context,
    scores: Mapping[str, Sequence[Mapping[str, float]]],
    made: Float[np.ndarray, "n d"],
    labels: int,
) -> None:
    """What classifiers of few labels are worth, and digits of the generator."""
    fig, (left, middle, right) = figure(1, 3, width=10.4, height=3.4)
    for ax, measure, title in (
        (left, "accuracy", "accuracy"),
        (middle, "ece", "calibration error"),
    ):
        for place, rows in enumerate(scores.values()):
            values = [row[measure] for row in rows]
            ax.bar(place, np.mean(values), color=PALETTE[place], alpha=0.6, width=0.7)
            ax.plot(np.full(len(values), place), values, "o", color="black", markersize=3)
        ax.set_xticks(range(len(scores)), [name.replace(" by ", "\nby ") for name in scores])
        ax.set(title=title)
        ax.grid(axis="x", visible=False)
    side = round(made.shape[1] ** 0.5)
    rows = len(made) // 8
    pixels = np.clip((made[: 8 * rows].reshape(rows, 8, side, side) + 1) / 2, 0, 1)
    image_sheet(right, pixels, title="from the generator")
    context.figure(
        "digits",
        fig,
        f"Digits of which {labels} of each class have a label; dots are seeds, each with labels of "
        "its own. Left: the share of held-out digits that is classified rightly. Middle: the gap "
        "between confidence and accuracy. Right: samples of VERA's generator, which learned from "
        "all digits without their labels.",
    )
