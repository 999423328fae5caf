"""The pictures of the recipe `delta-vae`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.runs import Context

_GREY = "#7b8794"
# What is probed: its place in a pair of bars, its colour and its name.
_PROBES = (
    ("from_draw", -0.18, PALETTE[0], "from a draw of z"),
    ("from_mean", 0.18, PALETTE[4], "from the posterior's mean: misleading"),
)


def draw_rates(
    context: Context, found: Mapping[str, Mapping[str, np.ndarray]], floors: Mapping[str, float]
) -> None:
    """The rate along the training, above what was committed to."""
    fig, ax = figure(width=7.2, height=4.0)
    for (way, row), colour in zip(found.items(), PALETTE, strict=False):
        for number, curve in enumerate(row["curve"]):
            label = way if number == 0 else None
            ax.plot(row["steps"], curve, color=colour, linewidth=1.2, label=label)
        if way in floors:
            ax.axhline(floors[way], color=colour, linestyle="--", linewidth=1.1)
    late = [row["curve"][:, len(row["steps"]) // 4 :].max() for row in found.values()]
    ax.set(xlabel="training steps", ylabel="rate (nats)", ylim=(-0.4, 1.35 * max(late)))
    ax.legend(fontsize=8, loc="upper right", ncols=2)
    context.figure(
        "rates",
        fig,
        "The divergence of the posterior from the prior during training; a line for each seed, and "
        "dashed the committed rate, below which no posterior can be. The VAE with the same decoder "
        "collapses at once. At first a delta-VAE pays its committed rate for nothing; then it "
        "finds that it may as well use it.",
    )


def draw_plane(
    context: Context, found: Mapping[str, Mapping[str, np.ndarray]], entropy: float
) -> None:
    """Distortion against rate, with the lines on which their sum is the same."""
    fig, ax = figure(width=7.2, height=5.0)
    for (way, row), colour in zip(found.items(), PALETTE, strict=False):
        ax.plot(row["rate"], row["distortion"], "o", color=colour, label=way)
        ends = np.stack([row["fitted_rate"], row["rate"]])
        ax.plot(ends, [row["distortion"]] * 2, color=colour, linewidth=0.8, alpha=0.6)
        ax.plot(ends[0], row["distortion"], "o", color=colour, markerfacecolor="white")
    limits = (-0.8, ax.get_xlim()[1]), (ax.get_ylim()[0] - 1, ax.get_ylim()[1])
    for extra in range(0, 10, 2):
        style = ("black", "-", 1.4) if extra == 0 else (_GREY, ":", 0.7)
        line = entropy + extra - np.array(limits[0])
        ax.plot(limits[0], line, color=style[0], linestyle=style[1], linewidth=style[2])
    ax.set(xlim=limits[0], ylim=limits[1], xlabel="rate (nats)", ylabel="distortion (nats)")
    ax.legend(fontsize=8, loc="upper right", frameon=True, edgecolor="white")
    context.figure(
        "plane",
        fig,
        "Every model in the plane of rate and distortion: a dot a seed, hollow with the rate under "
        "a normal prior that was fitted to the encoder's output after training. On the thick line "
        "the sum, minus the ELBO, is the entropy of the data, exact, and no model lies below; on "
        "each dotted line it is two nats more: the price of using the latents, most of which the "
        "fitted prior takes back.",
    )


def draw_probes(
    context: Context,
    found: Mapping[str, Mapping[str, Sequence[Any] | np.ndarray]],
    what: str,
    chance: float,
    best: float | None = None,
) -> None:
    """What a linear classifier reads off the latents, and off their means."""
    fig, ax = figure(width=7.6, height=1.4 + 0.5 * len(found))
    for place, row in enumerate(found.values()):
        for kind, shift, colour, label in _PROBES:
            values = np.asarray(row[f"{what}_{kind}"])
            ax.barh(place + shift, values.mean() - chance, 0.34, left=chance, color=colour,
                    alpha=0.8, label=label if place == 0 else None)  # fmt: skip
            ax.plot(values, [place + shift] * len(values), ".", color="black", markersize=4)
    if best is not None:
        ax.axvline(best, color=_GREY, linestyle="--", linewidth=1.2, label="exact inference from x")
    ax.set_yticks(range(len(found)), list(found))
    ax.invert_yaxis()
    ax.set(xlim=(0.98 * chance, 1.0), xlabel=f"{what} read correctly ({chance:g} is chance)")
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.38, 1.13), ncols=3)
    context.figure(
        "probes",
        fig,
        f"How often a linear classifier tells the {what} from the latents; a dot a seed. A draw "
        "of a collapsed VAE's latents tells nothing. Its mean moves by a few hundredths, under "
        "noise of size one, and a classifier of means scales that up: probe draws.",
    )
