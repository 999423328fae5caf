"""The pictures of the recipe `gumbel-softmax`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.runs import Context

NAMES = {
    "score": "score function, moving average",
    "darn": "DARN",
    "muprop": "MuProp",
    "straight_through": "straight-through",
    "annealed": "straight-through, slope annealed",
    "hard": "straight-through Gumbel-softmax",
    "gumbel": "Gumbel-softmax",
    "colder": "Gumbel-softmax, colder",
}
_COLOURS = dict(
    zip(NAMES, [*(PALETTE[i] for i in (1, 3, 4)), "#7b8794", "#b08d57", PALETTE[2], PALETTE[0],
                PALETTE[5]], strict=True)
)  # fmt: skip


def draw_curves(context: Context, temperatures: Sequence[float], curves: Mapping[str, Any]) -> None:
    """Bias and variance by the temperature."""
    fig, axes = figure(1, 2, width=8.8, height=3.8)
    kinds = (("bias", 1), ("variance", 2))
    for ax, (kind, power) in zip(axes, kinds, strict=True):
        scale = np.asarray(curves["size"]) ** power
        for name in ("gumbel", "hard"):
            rows = curves[name][kind] / scale[:, None]
            ax.plot(temperatures, rows.T, color=_COLOURS[name], alpha=0.25, linewidth=0.9)
            middle = np.median(rows, axis=0)
            ax.plot(temperatures, middle, color=_COLOURS[name], marker="o", label=NAMES[name])
        for name in ("straight_through", "score"):
            if (name, kind) != ("score", "bias"):
                level = float(np.median(curves[name][kind] / scale))
                label = NAMES[name].split(",")[0]
                ax.axhline(level, color=_COLOURS[name], linestyle="--", linewidth=1.3, label=label)
        ax.set(xscale="log", xlabel="temperature")
        ax.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
        ax.minorticks_off()
    axes[0].set(ylabel="bias, as a share of the gradient")
    axes[0].set_ylim(0, 1.3 * axes[0].get_ylim()[1])  # room for the legend
    axes[1].set(yscale="log", ylabel="variance over the gradient squared")
    axes[0].legend(fontsize=8, loc="upper left")
    axes[1].legend(fontsize=8, loc="lower left")
    context.figure(
        "bias-and-variance",
        fig,
        "One-sample gradients of a quadratic function of four classes, against the exact ones: "
        "thin lines are functions drawn at random, thick and dashed ones medians. A high "
        "temperature is quiet and wrong, a low one right and noisy. The score function, without "
        "bias, is drawn at the right only, and has no baseline here.",
    )


WHAT = {
    "vae": "Autoencoders with categorical latents, minus the evidence lower bound",
    "belief": "Belief networks that fill in the lower half of an image, minus its log-likelihood",
}


def draw_networks(context: Context, name: str, trained: Mapping[str, Any]) -> None:
    """Held-out scores along the way."""
    fig, ax = figure(width=6.8, height=4.4)
    for way, row in trained.items():
        line_with_spread(
            ax, row["step"], row["test"], label=NAMES[way], colour=_COLOURS[way], marker=None
        )
    ends = [row["test"][:, -1].mean() for row in trained.values()]
    ax.set_ylim(min(ends) - 0.5, max(ends) + 3)
    ax.set(xlabel="training steps", ylabel="held out, nats an image")
    ax.legend(fontsize=8)
    context.figure(
        name,
        fig,
        f"{WHAT[name]} with discrete samples: mean and standard deviation over seeds; lower is "
        "better. The temperature of an autoencoder falls from 1 during the training, for the "
        "colder one further down; that of a belief network stays at 1, but for the colder one. The "
        "start is cut off.",
    )


def table_of_networks(context: Context, name: str, trained: Mapping[str, Any]) -> None:
    """Final scores, seed by seed."""
    count = len(next(iter(trained.values()))["test"])
    context.table(
        name,
        ["nats an image", *(f"seed {i + 1}" for i in range(count)), "mean", "training", "relaxed"],
        [
            [
                NAMES[way],
                *map(float, row["test"][:, -3:].mean(axis=1)),
                float(row["test"][:, -3:].mean()),
                float(row["train"][:, -3:].mean()),
                float(row["relaxed"].mean()) if "relaxed" in row else None,
            ]
            for way, row in trained.items()
        ],
        f"{WHAT[name]} with discrete samples, held out, seed by seed, the mean of the last three "
        "scores; the same on training images; and, held out, at the very end, with the relaxed "
        "samples of training.",
    )


def draw_flattery(context: Context, trained: Mapping[str, Any]) -> None:
    """Relaxed scores beside discrete ones."""
    fig, ax = figure(width=6.4, height=2.6)
    shown = [name for name, row in trained.items() if "relaxed" in row]
    for place, name in enumerate(shown):
        relaxed, hard = trained[name]["relaxed"], trained[name]["test"][:, -1]
        at = place + 0.16 * (np.arange(len(hard)) - (len(hard) - 1) / 2)
        ax.plot([relaxed, hard], [at, at], color="#7b8794", linewidth=1)
        ax.scatter(relaxed, at, facecolors="white", edgecolors=PALETTE[0], zorder=3)
        ax.scatter(hard, at, color=PALETTE[0], zorder=3)
    ax.set_yticks(range(len(shown)), [NAMES[name] for name in shown])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set(xlabel="held out, minus the ELBO (nats)")
    context.figure(
        "flattery",
        fig,
        "The same models scored with the relaxed samples that they were trained on (open), and "
        "with discrete ones (filled), which are what the model is for; a line a seed.",
    )
