"""The pictures of the recipe `implicit-bias`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, image_sheet
from pullback.recipes.implicit_bias.models import Way
from pullback.runs import Context

Found = Mapping[str, Mapping[str, np.ndarray]]


def draw_images(context: Context, found: Found, ways: Mapping[str, Way]) -> None:
    """The learned images of the first seed."""
    shown = [name for name, way in ways.items() if not way.decay] + [list(ways)[-1]]
    fig, axes = figure(len(shown), 1, width=7.4, height=1.15 * len(shown))
    for ax, name in zip(axes, shown, strict=True):
        row = found[name]
        images = row["images"][0]
        side = round(images.shape[1] ** 0.5)
        # One scale a row: its middle nine tenths.
        low, high = np.quantile(images, [0.05, 0.95])
        grid = np.clip((images.reshape(1, -1, side, side) - low) / (high - low), 0, 1)
        worth = f"tuned {row['tuned'][0]:.2f}, re-trained {row['retrained'][0]:.2f}"
        image_sheet(ax, grid, title=f"{name}: {worth}")
    context.figure(
        "images",
        fig,
        "Ten learned images, labels 0 to 9 at first, of the first seed, and the accuracies of the "
        "network that was trained with them and of one that starts anew on them. Each row has a "
        "grey scale of its own.",
    )


def draw_curves(context: Context, found: Found, ways: Mapping[str, Way], source: str) -> None:
    """Accuracy on the way: of the network at hand, and of one that starts anew."""
    shown = [name for name, way in ways.items() if not way.decay]
    fig, axes = figure(1, 2, width=9.4, height=3.6)
    for place, name in enumerate(shown):
        row, colour = found[name], PALETTE[place]
        axes[0].plot(row["step"] / row["step"][-1], row["current"], color=colour, label=name)
        axes[0].plot(
            row["times"] / row["times"][-1], row["anew"], color=colour, linestyle="--", marker="o",
            markersize=4, label="starts anew",
        )  # fmt: skip
    axes[0].set(xlabel="share of the outer steps", ylabel="accuracy", ylim=(0, 1))
    handles, labels = axes[0].get_legend_handles_labels()
    order = [*range(0, len(handles), 2), 1]
    axes[0].legend([handles[i] for i in order], [labels[i] for i in order], fontsize=8)
    last = shown[-2]  # the last warm start
    decays = [0.0, *(way.decay for way in ways.values() if way.decay)]
    rows = [found[last], *(found[name] for name, way in ways.items() if way.decay)]
    for place, (key, label) in enumerate({"tuned": "tuned", "retrained": "starts anew"}.items()):
        values = np.stack([row[key] for row in rows])
        axes[1].plot(range(len(decays)), values, ".", color=PALETTE[place], alpha=0.6)
        axes[1].plot(
            range(len(decays)), values.mean(axis=1), color=PALETTE[place], marker="o",
            linestyle="-" if key == "tuned" else "--", label=label,
        )  # fmt: skip
    axes[1].set_xticks(range(len(decays)), [f"{decay:g}" for decay in decays])
    axes[1].set(xlabel=f"weight decay, {last}", ylabel="accuracy", ylim=(0, 1))
    axes[1].legend(fontsize=8, loc="lower right")
    context.figure(
        "curves",
        fig,
        f"Left: while images are learned from {source}, the accuracy of the network at hand "
        "(lines) and of one that starts anew on the images of that time (dashed), on the images "
        "of the outer loss; first seed. Right: test accuracy at the end of a warm start by the "
        "weight decay of the inner loss, points are seeds.",
    )


def draw_norms(context: Context, terms: Sequence[int], bias: Mapping[str, Any]) -> None:
    """The norm of the outer solution by the length of the series."""
    fig, ax = figure(width=5.6, height=3.6)
    for place, (norm, expected) in enumerate(zip(bias["norm"], bias["expected"], strict=True)):
        colour = PALETTE[place % len(PALETTE)]
        ax.plot(terms, expected - 1, color=colour, label="closed form" if place == 0 else None)
        ax.plot(terms, norm - 1, "o", color=colour, label="found" if place == 0 else None)
    ax.set_xscale("symlog", linthresh=1)
    ax.set_yscale("symlog", linthresh=1e-6)
    ax.set_xticks(terms, map(str, terms))
    ax.set(xlabel="terms of the series, K", ylabel="norm above the least one, as a share")
    ax.legend(fontsize=9)
    context.figure(
        "norms",
        fig,
        "An outer problem with ten hyperparameters and three targets: all lengths of the series "
        "solve it, and each comes to another solution. Colours are problems; lines are the closed "
        "form, points what tuning found.",
    )
