"""The pictures of the recipe `rate-distortion`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, image_sheet, rate_distortion_axes
from pullback.runs import Context

_GREY = "#7b8794"


def draw_discrete(context: Context, found: Mapping[str, Any]) -> None:
    """The decoders that three objectives find, beside the true one."""
    names = list(found["found"])
    fig, axes = figure(1, len(names) + 1, width=3.0 * (len(names) + 1), height=2.9)
    ax = axes[0]
    entropy = found["entropy"]
    line = np.array([0.0, 0.75])
    ax.plot(line, entropy - line, color=_GREY, linestyle="--", linewidth=1, label="D + R = H")
    for name, colour in zip(names, PALETTE, strict=False):
        each = found["found"][name]
        ax.plot(each["rate"], each["distortion"], "o", color=colour, alpha=0.7, label=name)
    ax.set(xlabel="rate (nats)", ylabel="distortion (nats)", title="the same D + R")
    ax.legend(fontsize=7)
    middles = np.linspace(-0.95, 1.95, found["truth"].shape[1])
    for ax, name, colour in zip(axes[1:], names, PALETTE, strict=False):
        for row in found["truth"]:
            ax.fill_between(middles, row, color=_GREY, alpha=0.25, linewidth=0)
        for row in found["found"][name]["decoder"].reshape(-1, len(middles)):
            ax.plot(middles, row, color=colour, linewidth=1, alpha=0.8)
        off = np.mean(found["found"][name]["off"])
        ax.set(xlabel="x", title=f"{name}: p(x | z)\noff by {off:.2f}")
    context.figure(
        "discrete",
        fig,
        "Models of equal likelihood, and what they learn. Left: all lie on the line of the best "
        "ELBO, and only the target chooses where. Right: the two rows of each decoder, one line a "
        "row and seed; grey, the true ones. The ELBO leaves them anywhere.",
    )


def draw_linear(context: Context, found: Mapping[str, Any], betas: Sequence[float]) -> None:
    """Linear models on their curve."""
    fig, axes = figure(1, 2, width=8.4, height=3.5)
    curve = found["curve"]
    axes[0].plot(curve[:, 0], curve[:, 1], color=_GREY, label="reverse water-filling")
    for index in range(found["rate"].shape[1]):
        axes[0].plot(
            found["rate"][:, index], found["distortion"][:, index], "o", color=PALETTE[0],
            alpha=0.7, label="trained" if index == 0 else None,
        )  # fmt: skip
    for beta, rate, distortion in zip(
        betas, found["best_rate"], found["best_distortion"], strict=True
    ):
        axes[0].annotate(
            f"$\\beta$ = {beta:g}", (rate, distortion), xytext=(6, 3), textcoords="offset points",
            fontsize=8,
        )  # fmt: skip
    axes[0].set(xlabel="rate (nats)", ylabel="distortion (nats)")
    axes[0].legend()
    for kind, marker in (("rate", "o"), ("distortion", "s")):
        off = 100 * (found[kind] / found[f"best_{kind}"][:, None] - 1)
        axes[1].plot(betas, off, marker, color=PALETTE[0 if kind == "rate" else 1], alpha=0.7)
        axes[1].plot([], [], marker, color=PALETTE[0 if kind == "rate" else 1], label=kind)
    axes[1].axhline(0, color=_GREY, linewidth=1)
    axes[1].set(xscale="log", xlabel="$\\beta$", ylabel="off the curve (%)")
    axes[1].set_xticks(betas, [f"{beta:g}" for beta in betas])
    axes[1].minorticks_off()
    axes[1].legend()
    context.figure(
        "linear",
        fig,
        "Linear autoencoders of the data, whose best rate and distortion are known: the curve that "
        "water-filling gives, and the trained models, one dot a seed.",
    )


def draw_plane(
    context: Context, found: Mapping[str, Mapping[str, Any]], betas: Sequence[float], what: str
) -> None:
    """Every trained model as a point, with the lines of equal ELBO."""
    fig, ax = figure(width=6.6, height=4.6)
    for number, (name, each) in enumerate(found.items()):
        colour = PALETTE[number]
        rate, distortion = each["beta"]["rate"], each["beta"]["distortion"]
        ax.plot(rate.mean(1), distortion.mean(1), color=colour, linewidth=1, alpha=0.6)
        ax.plot(rate, distortion, "o", color=colour, alpha=0.7)
        ax.plot([], [], "o-", color=colour, label=f"{name}, $\\beta$ from {betas[0]:g} to "
                f"{betas[-1]:g}")  # fmt: skip
        ax.plot(
            each["target"]["rate"], each["target"]["distortion"], "D", color=colour,
            fillstyle="none",
        )  # fmt: skip
        ax.plot([], [], "D", color=colour, fillstyle="none", label=f"{name}, target rates")
        ax.plot(
            each["forced"]["rate"], each["forced"]["distortion"], "x", color=colour, markersize=6
        )
        ax.plot([], [], "x", color=colour, label=f"{name}, rate forced")
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
    for ax, (name, each) in zip(np.atleast_1d(axes), found.items(), strict=True):
        for kind, marker in (("beta", "o"), ("target", "D"), ("forced", "x")):
            rate = each[kind]["rate"].ravel()
            low, high = (each[kind][f"information_{end}"].ravel() for end in ("lower", "upper"))
            ax.vlines(rate, low, high, color=PALETTE[0], alpha=0.7)
            ax.plot(rate, low, marker, color=PALETTE[0], markersize=4)
            ax.plot(rate, high, marker, color=PALETTE[1], markersize=4)
        edge = ax.get_xlim()[1]
        ax.plot([0, edge], [0, edge], color=_GREY, linestyle="--", linewidth=1)
        ax.set(xlabel="rate (nats)", ylabel="information in z (nats)", title=name)
    context.figure(
        "information",
        fig,
        "The mutual information of x and z lies between the two ends of each bar. The rate "
        "(dashed) is only a bound from above; the lower bound cannot exceed the log of the batch. "
        "Crosses: rates that a large weight forced, and that say little.",
    )


def draw_reconstructions(
    context: Context,
    images: np.ndarray,
    found: Mapping[str, Mapping[str, Any]],
    betas: Sequence[float],
) -> None:
    """Held-out images, and what is drawn from their latents, along the frontier."""
    shown = min(6, len(images))
    fig, axes = figure(1, len(found), width=9.0, height=1.0 + 0.62 * (len(betas) + 1))
    for ax, (name, each) in zip(np.atleast_1d(axes), found.items(), strict=True):
        rate = each["beta"]["rate"][:, 0]
        labels = [f"$\\beta$ = {b:g}, R = {r:.1f}" for b, r in zip(betas, rate, strict=True)]
        sheet = np.stack([images[:shown], *each["beta"]["pictures"][:, :shown]])
        image_sheet(ax, sheet, rows=["held out", *labels], title=name)
    context.figure(
        "reconstructions",
        fig,
        "From everything through z to nothing: means, or draws of the autoregressive decoder, at a "
        "draw of z. With little rate the first draws an average, the second another image "
        "altogether.",
    )
