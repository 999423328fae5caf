"""The pictures of the recipe `ift-hypergradient`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, figure, image_sheet, line_with_spread
from pullback.runs import Context


def draw_decays(context: Context, decays: Mapping[str, Mapping[str, Any]]) -> None:
    """Accuracy on the validation rows on the way, and where the decays end."""
    fig, (left, middle, right) = figure(1, 3, width=10.6, height=3.4)
    for place, (name, row) in enumerate(decays.items()):
        line_with_spread(
            left, row["step"][0], row["accuracy"], label=f"decays: {name}", colour=PALETTE[place],
            marker=None,
        )  # fmt: skip
    left.set(xlabel="steps of the decays", ylabel="validation accuracy")
    left.legend(fontsize=8, loc="lower right")
    many, one = decays.values()
    middle.hist(many["logs"][0], bins=40, color=PALETTE[0], alpha=0.8)
    for number, log in enumerate(one["logs"][:, 0]):
        label = "one for all, a seed each" if number == 0 else None
        middle.axvline(log, color=PALETTE[1], linewidth=1, label=label)
    middle.set(xlabel="log-decay in the end", ylabel="weights")
    middle.set_ylim(0, 1.25 * middle.get_ylim()[1])  # room for the legend
    middle.legend(fontsize=8, loc="upper right")
    pixels = many["pixels"][0]
    side = round(len(pixels) ** 0.5)
    shown = right.imshow(pixels.reshape(side, side), cmap="viridis")
    right.set(xticks=[], yticks=[], title="log-decay, by pixel")
    right.grid(False)
    fig.colorbar(shown, ax=right, fraction=0.046)
    context.figure(
        "decays",
        fig,
        "Left: accuracy on the validation rows while the decays are tuned, mean and standard "
        "deviation over seeds. Middle: all log-decays of the first seed in the end. Right: their "
        "means over the weights that leave a pixel.",
    )


def draw_images(context: Context, images: Mapping[str, Any]) -> None:
    """Ten learned images, over ten real ones."""
    fig, axes = figure(2, 1, width=7.4, height=2.4)
    for ax, (key, title) in zip(axes, (("images", "learned"), ("drawn", "real")), strict=True):
        worth = images["learned" if key == "images" else "real"]
        image_sheet(ax, _grey(images[key][0]), title=f"{title}: test accuracy {worth[0]:.2f}")
    context.figure(
        "images",
        fig,
        "Ten images of the classes 0 to 9 that a linear model is trained on, and what it is then "
        "worth; first seed. Every row has a grey scale of its own.",
    )


def draw_inverses(context: Context, lengths: Sequence[int], inverse: Mapping[str, Any]) -> None:
    """Errors of hypergradients by the length of what stands for the inverse."""
    fig, axes = figure(1, 2, width=9.4, height=3.6)
    styles = {"linestyle": "-"}, {"linestyle": "none", "markerfacecolor": "none", "markersize": 9}
    for place, (name, row) in enumerate(inverse["found"].items()):
        style = styles[1] if name.startswith("unrolled") else styles[0]
        settings = {"color": PALETTE[place], "marker": "o", "label": name, **style}
        axes[0].plot(lengths, np.maximum(row[:, 0], 1e-12), **settings)
        axes[1].plot(lengths, np.maximum(1 - row[:, 1], 1e-12), **settings)
    grid = np.linspace(0, lengths[-1], 200)
    neumann = inverse["found"]["Neumann, K terms"][-1, 0]
    bound = neumann * np.exp(inverse["rate"] * (grid - lengths[-1]))
    axes[0].plot(grid, bound, color="#7b8794", linestyle=":", label="slope log(1 - mu/L)")
    for ax, label in zip(axes, ("relative error", "1 - cosine"), strict=True):
        ax.set(yscale="log", xlabel="K", ylabel=label)
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(-0.3, 1.5 * lengths[-1])
        ax.set_xticks(lengths, map(str, lengths))
        ax.minorticks_off()
    axes[0].legend(fontsize=7, loc="lower left")
    context.figure(
        "inverses",
        fig,
        "Hypergradients of 64 decays of a ridge regression against the exact ones. A series of K "
        "terms is K + 1 steps differentiated through. Conjugate gradients need far fewer products "
        "where the curvature is positive, as it is here. Below 1e-12 is drawn there.",
    )
    context.table(
        "inverses",
        ["K", *(f"{name}: {what}" for name in inverse["found"] for what in ("error", "cosine"))],
        [
            [int(k), *(float(v) for row in inverse["found"].values() for v in row[place])]
            for place, k in enumerate(lengths)
        ],
        "Relative errors of hypergradients of a ridge regression of digits, and their cosines.",
    )


def draw_rows(
    context: Context, wrong: Mapping[str, Mapping[str, Any]], augmented: Mapping[str, Any]
) -> None:
    """The weights of the rows, and images that the augmentation disturbs."""
    fig, axes = figure(1, len(wrong), width=8.8, height=3.2)
    for ax, (kind, row) in zip(axes, wrong.items(), strict=True):
        bins = np.linspace(0, 2, 31)
        for flag, name, colour in ((False, "right", PALETTE[0]), (True, "wrong", PALETTE[1])):
            values = row["weight"][row["wrong"] == flag]
            ax.hist(values, bins=bins, density=True, color=colour, alpha=0.6, label=f"{name} label")
        ax.set(xlabel="learned weight", ylabel="density", title=f"wrong: {kind}")
        ax.legend(fontsize=8)
    context.figure(
        "rows",
        fig,
        "Weights of training rows that were learned on clean validation rows, all seeds; all "
        "started at one half.",
    )
    fig, axes = figure(2, 1, width=7.4, height=2.4)
    for ax, key in zip(axes, ("shown", "disturbed"), strict=True):
        image_sheet(ax, _grey(augmented[key][0]), title=key.replace("shown", "as they are"))
    context.figure(
        "augmentation",
        fig,
        "Training images, and what the learned augmentation makes of them; first seed.",
    )


def _grey(images: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "1 n side side"]:
    low, high = np.quantile(images, [0.02, 0.98])
    side = round(images.shape[1] ** 0.5)
    return np.clip((images.reshape(1, -1, side, side) - low) / (high - low + 1e-9), 0, 1)
