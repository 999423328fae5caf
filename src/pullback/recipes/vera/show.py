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
_CLOSE = 3.5  # half the width of a picture of the ring alone

TITLES = {
    "tangent": "entropy, by the tangent",
    "around z0": "entropy, as published",
    "no entropy": "no entropy",
}
_MARKS = "osD^"


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
        density_image(
            ax, row["density"][0], _BOX, points=row["samples"][0][:_SHOWN], title=TITLES[name]
        )
    context.figure(
        "ring",
        fig,
        "Bright is where the energy puts its density; white dots are samples of the generator that "
        "it was trained against. With the entropy, whether its gradient is by the tangent or as "
        "published, density and samples are at the eight Gaussians. Without it the samples shrink "
        "to a thin string, and nothing tells the energy where else it has put its density.",
    )


def draw_bias(
    context: Context,
    sizes: Sequence[int],
    found: Mapping[str, Mapping[str, np.ndarray]],
    names: Sequence[str],
) -> None:
    """How far the gradient of the entropy is off, by the number of latents."""
    fig, axes = figure(2, len(found), width=4.8 * len(found), height=5.6, sharex=True)
    for column, (title, row) in enumerate(found.items()):
        for number, name in enumerate(names):
            kind = {"color": PALETTE[number], "marker": _MARKS[number]}
            bias = 100 * row["bias"][:, number]
            shift = np.asarray(sizes, float) * 1.06 ** (number - 1.5)
            spread = bias.std(axis=0, ddof=1) if len(bias) > 1 else 0 * bias[0]
            axes[0, column].errorbar(
                shift, bias.mean(axis=0), yerr=spread, label=name, capsize=2, **kind
            )
            axes[1, column].plot(sizes, row["error"][:, number].mean(axis=0), **kind)
        axes[0, column].axhline(0, color="black", linewidth=1)
        axes[0, column].set(title=title, xscale="log")
        axes[0, column].set_yscale("symlog", linthresh=50)
        axes[1, column].set(xlabel="latents for one score", yscale="log")
        for ax in axes[:, column]:
            ax.set_xticks(sizes, [f"{size}" for size in sizes])
            ax.minorticks_off()
    for ax in axes[0]:
        ax.set_yticks([-50, 0, 50, 200], ["-50", "0", "50", "200"])
    axes[0, 0].set_ylabel("entropy's gradient, % off")
    axes[1, 0].set_ylabel("error of the score,\nrelative")
    axes[0, 0].legend(fontsize=8)
    context.figure(
        "bias",
        fig,
        "Top: by how much the gradient of the entropy to the scale of a generator's output is "
        "wrong, against the exact one (bars: standard deviation over seeds; the axis is linear to "
        "50 and logarithmic beyond). Bottom: the error of single scores. Around the latent that "
        "made the sample (blue) it is too small where the generator is linear; twice the width "
        "(orange) mends that in part, and is far too large with few latents where the generator is "
        "bent. The tangent's posterior (green) is right where the generator is linear. With the "
        "own latent kept (purple) it is never too large, and with few latents its scores err "
        "least.",
    )


def draw_refined(
    context: Context, first: Mapping[str, Any], walked: Mapping[str, Any], steps: int
) -> None:
    """Samples before and after the walks."""
    fig, axes = figure(1, 3, width=9.6, height=3.7)
    shown = {
        f"generator: {first['near'][0]:.0%} near": first["samples"][0],
        f"walk in x: {walked['data_near'][0]:.0%} near": walked["data"][0],
        f"walk in z: {walked['latent_near'][0]:.0%} near": walked["latent"][0],
    }
    for ax, (title, points) in zip(axes, shown.items(), strict=True):
        density_image(ax, first["density"][0], _BOX, points=points[:_SHOWN], title=title)
        ax.set(xlim=(-_CLOSE, _CLOSE), ylim=(-_CLOSE, _CLOSE))
    context.figure(
        "refined",
        fig,
        f"Samples of the generator, and the same after {steps} Metropolis-adjusted steps on the "
        "energy, in the space of the data and in that of the latents; near means within three "
        "standard deviations of one of the eight Gaussians. Of the energy itself, by a sum over "
        f"the grid, {first['own_near'][0]:.0%} lie near. The walk in the latents goes to another "
        "density, the generator's tilted by the energy: here it is nearer to the data than either.",
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
    low = min(row["accuracy"] for rows in scores.values() for row in rows)
    left.set_ylim(max(0.0, low - 0.1), 1)
    side = round(made.shape[1] ** 0.5)
    rows = len(made) // 8
    pixels = np.clip((made[: 8 * rows].reshape(rows, 8, side, side) + 1) / 2, 0, 1)
    image_sheet(right, pixels, title="from the generator")
    context.figure(
        "digits",
        fig,
        f"Digits of which {labels} of each class have a label; dots are seeds, each with labels of "
        "its own. Left: the share of held-out digits that is classified rightly, on an axis that "
        "does not begin at 0. Middle: the gap between confidence and accuracy. Right: samples of "
        "VERA's generator, which learned from all digits without their labels.",
    )
