"""The pictures of the recipe `synaptic-intelligence`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.runs import Context

Found = Mapping[str, Sequence[Mapping[str, Any]]]


def draw_tasks(context: Context, found: Found, joint: Sequence[np.ndarray]) -> None:
    """What became of each task, by every way."""
    fig, axes = figure(1, len(found), width=3.2 * len(found), height=3.2, sharey=True)
    for ax, (way, rows) in zip(np.atleast_1d(axes), found.items(), strict=True):
        matrix = np.mean([row["accuracy"] for row in rows], axis=0)
        tasks = len(matrix)
        for task in range(tasks):
            label = f"task {task + 1}"
            after = np.arange(task, tasks)
            again, place = divmod(task, len(PALETTE))
            style = {"linestyle": ("-", "--")[again % 2], "color": PALETTE[place]}
            ax.plot(after + 1, matrix[after, task], marker="o", markersize=4, label=label, **style)
        ax.axhline(np.mean(joint), color="0.5", linestyle=":", label="all at once")
        ax.set(title=way, xlabel="tasks learned", ylim=(0, 1.02), xticks=range(1, tasks + 1))
    np.atleast_1d(axes)[0].set(ylabel="test accuracy")
    np.atleast_1d(axes)[0].legend(fontsize=7, loc="lower left")
    context.figure(
        "tasks",
        fig,
        "Permuted pixels: accuracy on each task from when it was learned on, means over seeds. "
        "Dotted: the mean of a network that was trained on all tasks at once.",
    )


def draw_mean(context: Context, permutations: Found, classes: Found) -> None:
    """The mean over the tasks seen so far."""
    fig, axes = figure(1, 2, width=8.4, height=3.4, sharey=True)
    titles = ("permuted pixels", "new classes")
    for ax, found, title in zip(axes, (permutations, classes), titles, strict=True):
        tasks = 0
        for colour, (way, rows) in zip(PALETTE, found.items(), strict=False):
            means = np.asarray([_so_far(row["accuracy"]) for row in rows])
            tasks = means.shape[1]
            line_with_spread(ax, range(1, tasks + 1), means, label=way, colour=colour)
        ax.set(title=title, xlabel="tasks learned", ylim=(0, 1.02), xticks=range(1, tasks + 1))
    axes[0].set(ylabel="mean accuracy so far")
    axes[0].legend(fontsize=8, loc="lower left")
    context.figure(
        "so-far",
        fig,
        "Mean accuracy over the tasks learned so far, with the standard deviation over seeds. "
        "Right: one output for each class of all tasks, and no word of which task an image is of.",
    )


def _so_far(matrix: np.ndarray) -> list[float]:
    return [float(np.mean(row[: n + 1])) for n, row in enumerate(matrix)]
