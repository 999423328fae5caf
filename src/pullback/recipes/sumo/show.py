"""The pictures of the recipe `sumo`."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.recipes.sumo.funnel import log_target
from pullback.runs import Context

MARKERS = {"IWAE": ("o", PALETTE[0]), "SUMO": ("s", PALETTE[1]), "multilevel": ("^", PALETTE[2])}


def _style(name: str) -> dict[str, Any]:
    marker, colour = next(style for key, style in MARKERS.items() if name.startswith(key))
    return {"marker": marker, "color": colour}


def draw_optimum(context: Context, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Bias of the gradient, and spread of the value, by the cost."""
    fig, axes = figure(1, 2, width=8.8, height=3.7)
    for name, row in found.items():
        style = {**_style(name), "linestyle": "none"}
        label = name.split(",")[0] if name.split(",")[0] in ("IWAE", "SUMO") else "multilevel"
        seen = {line.get_label() for line in axes[0].get_lines()}
        axes[0].errorbar(
            row["cost"], row["slope"], yerr=4 * row["slope_error"], capsize=3,
            label=None if label in seen else label, **style,
        )  # fmt: skip
        axes[1].plot(row["cost"], row["std"], **style)
        axes[1].plot(row["cost"], abs(row["worst"]), **{**style, "fillstyle": "none"})
    axes[0].axhline(0, color="#7b8794", linestyle="--", linewidth=1)
    axes[0].set(xscale="log", xlabel="expected samples", ylabel="mean gradient (exact: 0)")
    handles, labels = axes[0].get_legend_handles_labels()
    kept = dict(zip(labels, handles, strict=True))
    axes[0].legend(kept.values(), kept.keys())
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


def draw_climb(context: Context, climbs: Sequence[Mapping[str, Sequence[float]]]) -> None:
    """The parameter's distance from its best value."""
    fig, ax = figure(width=6.2, height=3.5)
    for name in climbs[0]:
        paths = np.array([climb[name] for climb in climbs])
        line_with_spread(
            ax, np.arange(1, paths.shape[1] + 1), paths, label=name, marker=None,
            colour=_style(name)["color"],
        )  # fmt: skip
    ax.axhline(0, color="#7b8794", linestyle="--", linewidth=1)
    ax.set(xlabel="steps of SGD", ylabel="distance of theta from\nits best value")
    ax.legend()
    context.figure(
        "climb",
        fig,
        "Following each gradient: the bound of six samples settles beside the maximum-likelihood "
        "parameter, the unbiased estimates at it. Mean and standard deviation over the seeds.",
    )


def draw_funnel(context: Context, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The objective that was followed, and the divergence that was meant."""
    fig, axes = figure(1, 2, width=9.2, height=3.8)
    lines = ("-", "--", ":")
    seen: dict[str, int] = {}
    for name, several in runs.items():
        style = _style(name)
        family = name.split(",")[0]
        style["linestyle"] = lines[seen.get(family, 0)]
        seen[family] = seen.get(family, 0) + 1
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


def draw_samples(context: Context, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Samples of the models over the target's contours."""
    across, up = np.linspace(-8, 8, 161), np.linspace(-5, 5, 121)
    points = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    density = np.exp(np.asarray(jax.vmap(log_target)(jnp.asarray(points, float))))
    fig, axes = figure(1, len(runs), width=2.1 * len(runs), height=2.7, sharey=True)
    for ax, (name, several) in zip(axes, runs.items(), strict=True):
        ax.contour(
            across, up, density.reshape(len(up), len(across)),
            levels=[1e-3, 1e-2, 5e-2, 0.15], colors="#7b8794", linewidths=0.8,
        )  # fmt: skip
        x = np.asarray(several[0]["samples"])
        ax.plot(x[:, 0], x[:, 1], ".", color=_style(name)["color"], markersize=2, alpha=0.5)
        ax.set(xlim=(-8, 8), ylim=(-5, 5), title=name)
        ax.title.set_fontsize(8)
    context.figure(
        "samples",
        fig,
        "A thousand samples of each model at the end, first seed, over contours of the funnel.",
    )
