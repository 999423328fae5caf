"""The pictures of the recipe `gran`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.data import Graph
from pullback.plots import PALETTE, figure, graph_sheet
from pullback.recipes.gran import measure
from pullback.recipes.gran.measure import STATISTICS
from pullback.runs import Context

_SHOWN = 8
Curve = Mapping[tuple[int, int], Mapping[str, Any]]


def draw_graphs(context: Context, groups: Mapping[str, Sequence[Graph]]) -> None:
    """Some graphs of each group, a row each."""
    fig, ax = figure(width=9.0, height=1.2 * len(groups) + 0.3)
    rows = [graphs[:_SHOWN] for graphs in groups.values()]
    graph_sheet(ax, rows, rows=[*groups], seed=context.seed)
    context.figure("graphs", fig, f"Graphs, {' above '.join(groups)}.")


def draw_statistics(context: Context, mmd: measure.Mmd) -> None:
    """Squared MMD of each statistic: of samples, and of the two ends."""
    fig, ax = figure(width=6.8, height=3.4)
    for colour, marker, (name, of) in zip(PALETTE, "os^", mmd.items(), strict=False):
        values = [of[statistic] for statistic in STATISTICS]
        ax.plot(STATISTICS, values, marker, markersize=8, color=colour, label=name)
    # Small samples may come nearer than the estimate can tell, and no tree has a triangle.
    ax.set_yscale("symlog", linthresh=1e-4)
    ax.set(ylabel="squared MMD to held-out graphs", ylim=(0, None))
    ax.legend(fontsize=9)
    context.figure(
        "statistics", fig,
        "Squared MMD to held-out graphs: the lower the nearer. Samples are wanted near training "
        "graphs, far below Erdos-Renyi graphs of the same sizes and densities.",
    )  # fmt: skip


def draw_curve(context: Context, curve: Curve) -> None:
    """Quality by time, for each block and stride."""
    fig, ax = figure(width=6.8, height=3.8)
    for place, block in enumerate(dict.fromkeys(block for block, _ in curve)):
        of = {stride: row for (other, stride), row in curve.items() if other == block}
        x, y = ([row[name] for row in of.values()] for name in ("seconds", "quality"))
        ax.plot(x, y, "o-", color=PALETTE[place], label=f"block {block}")
        for stride, at, height in zip(of, x, y, strict=True):
            ax.annotate(f"{stride}", (at, height), (4, 5), textcoords="offset points", fontsize=8)
    ax.set_xscale("log")
    ax.set(xlabel="seconds of a graph", ylabel="squared MMD over Erdos-Renyi's", ylim=(0, None))
    ax.legend(fontsize=9)
    context.figure(
        "curve", fig,
        "Quality by time: the mean over degree, clustering where it varies, and orbits. Numbers "
        "are strides; wanted is the lower left, and 1 is chance.",
    )  # fmt: skip


def draw_training(context: Context, histories: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """How the loss fell."""
    fig, ax = figure(height=3.2)
    for place, (name, history) in enumerate(histories.items()):
        ax.plot(history["step"], history["loss"], color=PALETTE[place], label=name)
    ax.set(xlabel="step", ylabel="nats of a possible edge")
    ax.legend(fontsize=8)
    context.figure("training", fig, "Loss while the models are trained, scaled for the optimiser.")
