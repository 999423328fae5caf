"""The pictures of the recipe `rate-distortion`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, rate_distortion_axes
from pullback.runs import Context

_GREY = "#7b8794"
_MARKS = {"beta": "o", "target": "D"}


def draw_discrete(context: Context, truth: np.ndarray, found: Mapping[str, Any]) -> None:
    """The decoders that three objectives find, beside the true one."""
    fig, axes = figure(1, len(found) + 1, width=3.0 * (len(found) + 1), height=2.9)
    line = np.array([0.0, 0.75])
    entropy = float(next(iter(found.values()))["entropy"][0])
    axes[0].plot(line, entropy - line, color=_GREY, linestyle="--", linewidth=1, label="D + R = H")
    middles = np.linspace(-0.95, 1.95, truth.shape[1])
    for ax, (name, each), colour in zip(axes[1:], found.items(), PALETTE, strict=False):
        axes[0].plot(each["rate"], each["distortion"], "o", color=colour, alpha=0.7, label=name)
        for row in truth:
            ax.fill_between(middles, row, color=_GREY, alpha=0.25, linewidth=0)
        for row in each["decoder"].reshape(-1, len(middles)):
            ax.plot(middles, row, color=colour, linewidth=1, alpha=0.8)
        ax.set(xlabel="x", title=f"{name}: p(x | z)\noff by {np.mean(each['off']):.2f}")
    axes[0].set(xlabel="rate (nats)", ylabel="distortion (nats)", title="the same D + R")
    axes[0].legend(fontsize=7)
    context.figure(
        "discrete",
        fig,
        "Models of equal likelihood, and what they learn. Left: all lie on the line of the best "
        "ELBO, and only the target chooses where. Right: the two rows of each decoder, one line a "
        "row and seed; grey, the true ones. The ELBO leaves them anywhere.",
    )


def draw_plane(
    context: Context, found: Mapping[str, Mapping[str, Any]], betas: Sequence[float], what: str
) -> None:
    """Every trained model as a point, with the lines of equal ELBO."""
    fig, ax = figure(width=6.6, height=4.6)
    words = {"beta": f"$\\beta$ from {betas[0]:g} to {betas[-1]:g}", "target": "target rates"}
    for (name, each), colour in zip(found.items(), PALETTE, strict=False):
        curve = each["beta"]
        ax.plot(curve["rate"].mean(1), curve["distortion"].mean(1), color=colour, linewidth=1)
        for kind, mark in _MARKS.items():
            rate, distortion = (each[kind][axis].ravel() for axis in ("rate", "distortion"))
            ax.plot(rate, distortion, mark, color=colour, alpha=0.7, label=f"{name}, {words[kind]}",
                    fillstyle="none" if kind == "target" else "full")  # fmt: skip
    rate_distortion_axes(ax)
    ax.legend()
    context.figure(
        "plane",
        fig,
        f"Autoencoders of {what}, held out: one point a model. Along a dotted line the ELBO, "
        "-(D + R), is the same; towards the lower left it is better. Left edge: z is ignored. "
        "Bottom right: z says all.",
    )


def draw_information(context: Context, found: Mapping[str, Mapping[str, Any]]) -> None:
    """What the rate says, and what it does not."""
    fig, axes = figure(1, len(found), width=4.2 * len(found), height=3.5)
    for ax, (name, each) in zip(axes, found.items(), strict=True):
        for kind, mark in _MARKS.items():
            rate = each[kind]["rate"].ravel()
            low, high = (each[kind][f"information_{end}"].ravel() for end in ("lower", "upper"))
            ax.vlines(rate, low, high, color=PALETTE[0], alpha=0.7)
            ax.plot(rate, low, mark, color=PALETTE[0], markersize=4)
            ax.plot(rate, high, mark, color=PALETTE[1], markersize=4)
        edge = ax.get_xlim()[1]
        ax.plot([0, edge], [0, edge], color=_GREY, linestyle="--", linewidth=1)
        ax.set(xlabel="rate (nats)", ylabel="information in z (nats)", title=name)
    context.figure(
        "information",
        fig,
        "The mutual information of x and z lies between the two ends of each bar. The rate "
        "(dashed) is only a bound from above; the lower bound cannot exceed the log of the batch.",
    )
