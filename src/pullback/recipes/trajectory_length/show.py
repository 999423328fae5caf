"""The pictures and tables of the recipe `trajectory-length`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.trajectory_length import measure
from pullback.runs import Context

Found = Mapping[str, np.ndarray]


def draw_paths(context: Context, paths: Mapping[str, Found]) -> None:
    """Growth a layer beside theory, and sign changes against lengths."""
    fig, axes = figure(1, 2, width=9.4, height=3.8)
    for colour, (name, row) in zip(PALETTE, paths.items(), strict=False):
        layers = np.arange(2, len(row["theory"]) + 2)
        axes[0].plot(layers, row["theory"], color=colour, label=name)
        for growth in row["growth"]:
            axes[0].plot(layers, growth, "o", color=colour, markersize=3.5, alpha=0.6)
        axes[1].loglog(
            row["length"].mean(axis=0), row["transitions"].mean(axis=0), "o-", color=colour,
            linewidth=1.0,
        )  # fmt: skip
    axes[0].set(xlabel="layer", ylabel="length, to the layer before", ylim=(1, None))
    axes[0].legend(fontsize=8, ncols=2, loc="upper left", bbox_to_anchor=(0, 0.86))
    axes[1].set(xlabel="length of the image of a circle", ylabel="changes of sign, all units")
    context.figure(
        "paths",
        fig,
        "A circle of inputs in random networks, by activation and weight scale. Left: growth of "
        "its image from layer to layer; lines are mean-field theory, points networks (means of "
        "each seed). Right: how often units change their sign on the way, a point a layer, means "
        "over seeds. A ReLU network grows longer images without more changes.",
    )


def draw_labelings(context: Context, labelings: np.ndarray, config: Any) -> None:
    """Labelings reached by the layer whose weights are swept."""
    fig, ax = figure(width=5.4, height=3.4)
    layers = np.arange(1, labelings.shape[1] + 1)
    for row in labelings:
        ax.semilogy(layers, row, "o", color=PALETTE[0], alpha=0.6)
    ax.semilogy(layers, np.exp(np.log(labelings).mean(axis=0)), color=PALETTE[0], label="measured")
    growth = measure.stretch(config.label_variance**0.5)
    theory = 2 * config.labelled * growth ** (layers[-1] - layers)
    ax.semilogy(layers, theory, "--", color=PALETTE[1], label="growing as a path does")
    ax.set(xlabel="weights that are swept (the last are the readout's)", ylabel="labelings")
    ax.legend(fontsize=9)
    context.figure(
        "labelings",
        fig,
        f"How many labelings of {config.labelled} inputs a circle through the weights of one layer "
        "comes by, points are seeds; the readout, with no layer behind it, reaches twice as many "
        "as there are inputs.",
    )


def draw_layers(
    context: Context, config: Any, single: Mapping[float, Found],
    whole: Mapping[tuple[float, bool], Found], source: str,
) -> None:  # fmt: skip
    """Accuracy by the one layer that is trained, and what noise costs by layer."""
    fig, axes = figure(1, 2, width=9.4, height=3.6)
    for colour, (variance, row) in zip(PALETTE, single.items(), strict=False):
        for name, style in (("train", "--"), ("test", "-")):
            axes[0].plot(
                config.trained, row[name].mean(axis=0), style, color=colour,
                label=f"variance {variance:g}, {name}",
            )  # fmt: skip
        for values in row["test"]:
            axes[0].plot(config.trained, values, "o", color=colour, markersize=3.5, alpha=0.6)
    axes[0].set(xlabel="weights that are trained, from 0", ylabel="accuracy", ylim=(0, 1.02))
    axes[0].legend(fontsize=8)
    for colour, variance in zip(PALETTE, (config.variance, config.penalty_variance), strict=False):
        drop = whole[variance, False]["drop"]
        layers = np.arange(drop.shape[1])
        axes[1].plot(layers, drop.mean(axis=0), color=colour, label=f"variance {variance:g}")
        for values in drop:
            axes[1].plot(layers, values, "o", color=colour, markersize=3.5, alpha=0.6)
    axes[1].set(xlabel="weights with noise, from 0", ylabel="test accuracy lost", ylim=(0, None))
    axes[1].legend(fontsize=8)
    context.figure(
        "layers",
        fig,
        f"Networks on {source}, points are seeds. Left: {config.layers} hidden layers of which "
        "one is trained and the others stay as they were drawn, by the variance of the weights "
        f"times fan in. Right: {config.noisy_layers} hidden layers, all trained; the accuracy "
        f"lost to noise of {config.noise:g} standard deviations in the weights of one.",
    )


def tell_growth(context: Context, paths: Mapping[str, Found], nets: int) -> None:
    """Growth a layer, and theory."""
    depth = len(next(iter(paths.values()))["theory"]) + 1
    rows = []
    for name, row in paths.items():
        rows.append([name, "measured", *map(float, row["growth"].mean(axis=0))])
        rows.append(["", "root of chi", *map(float, row["theory"])])
    context.table(
        "growth",
        ["activation, weight scale", "", *(f"layer {at}" for at in range(2, depth + 1))],
        rows,
        f"By how much each layer lengthens the image of a circle; means of {nets} networks.",
    )


def tell_accuracies(
    context: Context, config: Any, single: Mapping[float, Found],
    whole: Mapping[tuple[float, bool], Found], source: str,
) -> None:  # fmt: skip
    """Accuracies of what was trained."""
    rows: list[list[Any]] = []
    for variance, row in single.items():
        for place, train, test in zip(config.trained, row["train"].T, row["test"].T, strict=True):
            rows.append([f"layer {place}", variance, float(train.mean()), float(test.mean())])
    for (variance, penalty), row in whole.items():
        name = f"all{', with the penalty' * penalty}"
        rows.append([name, variance, None, float(row["test"].mean())])
    context.table(
        "accuracies",
        ["trained", "variance", "training accuracy", "test accuracy"],
        rows,
        f"Accuracies on {source}, means over {config.seeds} seeds. The penalty learned scales of "
        + ", ".join(
            f"{float(scale):.2f}" for scale in whole[config.variance, True]["scales"].mean(axis=0)
        )
        + f" at variance {config.variance:g}, from 1.",
    )
