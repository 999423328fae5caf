"""The pictures of the recipe `sumo`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.runs import Context

MARKERS = {"IWAE": ("o", PALETTE[0]), "SUMO": ("s", PALETTE[1]), "multilevel": ("^", PALETTE[2])}


def _style(name: str) -> dict[str, Any]:
    marker, colour = next(style for key, style in MARKERS.items() if name.startswith(key))
    return {"marker": marker, "color": colour}


def draw_optimum(context: Context, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Bias of the gradient, and spread of the value, by the cost."""
    fig, axes = figure(1, 2, width=8.8, height=3.7)
    for name, row in found.items():
        kind = name.split(",")[0]
        style = {**_style(name), "linestyle": "none"}
        new = kind not in axes[0].get_legend_handles_labels()[1]
        axes[0].errorbar(
            row["cost"], row["slope"], yerr=4 * row["slope_error"], capsize=3,
            label=kind if new else None, **style,
        )  # fmt: skip
        axes[1].plot(row["cost"], row["std"], **style)
        axes[1].plot(row["cost"], abs(row["worst"]), **{**style, "fillstyle": "none"})
    axes[0].axhline(0, color="#7b8794", linestyle="--", linewidth=1)
    axes[0].set(xscale="log", xlabel="expected samples", ylabel="mean gradient (exact: 0)")
    axes[0].legend()
    axes[1].set(
        xscale="log", yscale="log", xlabel="expected samples",
        ylabel="nats: filled, spread;\nempty, worst draw",
    )  # fmt: skip
    context.figure(
        "optimum",
        fig,
        "Left: the gradient for the model's parameter at its maximum-likelihood value, with 4 "
        "standard errors. Bounds push away from it; the two series do not. Right: what that costs. "
        "The draws of SUMO have a heavy tail; those of the multilevel form do not.",
    )


def draw_funnel(context: Context, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The objective that was followed, and the divergence that was meant."""
    fig, axes = figure(1, 2, width=9.2, height=3.8)
    for name, several in runs.items():
        style = {**_style(name), "fillstyle": "none" if name == "IWAE, k = 21" else "full"}
        for panel, kind in zip(axes, ("objective", "exact"), strict=True):
            values = np.array([run[kind] for run in several])
            panel.plot(several[0]["steps"], np.median(values, axis=0), label=name, **style)
    axes[0].set(yscale="symlog", xlabel="steps", ylabel="nats", title="objective that was followed")
    axes[0].axhline(0, color="#7b8794", linewidth=1)
    axes[1].set(yscale="log", xlabel="steps", title="exact divergence")
    axes[1].set_ylim(None, 20 * axes[1].get_ylim()[1])
    axes[1].legend(fontsize=8, ncols=2, loc="upper left")
    context.figure(
        "funnel",
        fig,
        "A model fitted to a funnel by its reverse divergence, median over the seeds. With a bound "
        "in place of log p(x) the objective falls far below zero, which no divergence can, while "
        "the exact one rises: the bound is exploited. The unbiased estimates do what was asked.",
    )
