"""The pictures of the recipe `transient-chaos`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.transient_chaos import measure
from pullback.recipes.transient_chaos.models import Config
from pullback.runs import Context

Rows = Mapping[str, np.ndarray]


def draw_phases(context: Context, config: Config) -> None:
    """chi_1 by both scales, and the line where it is 1."""
    weights, biases = np.linspace(1, 5, 41), np.linspace(0, 4, 41)
    chi = measure.phase_diagram(biases, weights)
    fig, ax = figure(width=5.8, height=4.0)
    image = ax.pcolormesh(
        weights, biases, np.log(chi), cmap="RdBu_r", vmin=-1.2, vmax=1.2, shading="gouraud"
    )
    ax.contour(weights, biases, chi, levels=[1.0], colors="black")
    ax.plot(config.weight_scales, [config.bias_scale] * len(config.weight_scales), "k.")
    fig.colorbar(image, ax=ax, label="log of the stretch a layer, squared")
    ax.set(xlabel="weight scale", ylabel="bias scale")
    context.figure(
        "phases",
        fig,
        "What theory says of networks with tanh: in blue inputs come together with depth and "
        "gradients vanish, in red inputs part and gradients explode. The line between is the "
        "scale to take; points are the networks of this recipe.",
    )


def draw_layers(context: Context, config: Config, found: Rows, theory: Rows) -> None:
    """Speed and turning of the circle by the layer."""
    import matplotlib.pyplot as plt

    fig, axes = figure(1, 2, width=9.4, height=3.8)
    layers = np.arange(1, config.depth + 1)
    for place, scale in enumerate(config.weight_scales):
        colour = plt.get_cmap("viridis")(place / len(config.weight_scales))
        for ax, name, unit in zip(axes, ("metric", "turning"), (None, 2 * np.pi), strict=True):
            by = theory[name][place, 0] if unit is None else unit
            ax.plot(layers, theory[name][place] / by, color=colour, label=f"{scale:g}")
            ax.plot(layers, found[name][place].mean(axis=0) / by, "o", color=colour, markersize=3)
    axes[0].set(xlabel="layer", ylabel="squared speed, first layer 1", yscale="log")
    axes[1].set(xlabel="layer", ylabel="turns of its direction", yscale="log")
    axes[0].legend(title="weight scale", fontsize=8, ncols=2)
    context.figure(
        "circle",
        fig,
        f"A circle through random networks of {config.width} units, bias scale "
        f"{config.bias_scale:g}: lines are theory, points means over {config.seeds} networks. In "
        "the ordered phase the circle shrinks to a point but keeps its bends; in the chaotic one "
        "length and bends grow exponentially.",
    )


def draw_trainings(context: Context, config: Config, runs: Mapping[str, Any]) -> None:
    """Losses on the way."""
    fig, axes = figure(1, len(runs), width=9.6, height=3.4)
    first = next(iter(runs.values()))["names"]
    for ax, (title, rows) in zip(axes, runs.items(), strict=True):
        for name, curves in zip(rows["names"], rows["loss"], strict=True):
            colour = PALETTE[first.index(name)]
            ax.plot(rows["step"], curves.T, color=colour, alpha=0.4, linewidth=0.8)
            ax.plot(rows["step"], curves.mean(axis=0), color=colour, label=name)
        ax.set(xlabel="step", title=title, yscale="log")
    axes[0].set(ylabel="training loss", ylim=(0.01, None))
    axes[0].legend(fontsize=8, loc="lower left")
    context.figure(
        "trainings",
        fig,
        f"Training from several scales, {config.seeds} networks each and their mean: deep ones, "
        "the same at a smaller learning rate, and shallow ones.",
    )
