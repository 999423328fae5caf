"""How the recipe `taynode` shows what it measured."""

from collections.abc import Mapping, Sequence

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.taynode.compare import Found
from pullback.runs import Context


def named(order: int) -> str:
    """What a network is called that was trained with R_K; K = 0 is none."""
    return f"K = {order}" if order else "none"


def draw_cost_and_error(
    context: Context,
    found: Found,
    tolerances: Sequence[float],
    score: str,
    label: str,
    *,
    from_zero: bool = True,
) -> None:
    """Evaluations against what `score` of a row holds, a figure of which less is better."""
    fig, ax = figure(width=6.4, height=4.2)
    middle = (len(found) - 1) / 2
    for i, (order, rows) in enumerate(found.items()):
        # Counts are few different numbers: marks stand side by side, so that none hides another.
        nfe = np.array([row["nfe"][-1] for row in rows]) + 0.8 * (i - middle)
        error, colour, marker = [row[score] for row in rows], PALETTE[i % 7], "osD^vP*"[i % 7]
        ax.scatter(nfe, error, color=colour, marker=marker, alpha=0.6, s=30, linewidths=0)
        ax.scatter(
            np.mean(nfe), np.mean(error), edgecolors=colour, facecolors="none", marker=marker,
            s=150, linewidths=1.8, label=named(order),
        )  # fmt: skip
    runs = [row for rows in found.values() for row in rows]
    dearest = max(row["nfe"][-1] for row in runs)
    ax.set(
        title="What a model costs, and how good it is",
        xlabel=f"function evaluations at tolerance {tolerances[-1]:g}",
        ylabel=label,
        xlim=(0, 1.08 * dearest),
    )
    if from_zero:
        ax.set(ylim=(0, 1.15 * max(row[score] for row in runs)))
    ax.legend(title="regulariser", loc="lower left", labelspacing=0.9)
    context.figure(
        "cost-and-error",
        fig,
        f"Evaluations to solve what is held out, against {label}: one small mark a model, one "
        "open mark for the mean over seeds, moved a little sideways so that all are seen. To the "
        "left is cheaper, and below is better.",
        alt="The models with a regulariser lie left of those without, at about the same height.",
    )


def draw_paths(context: Context, paths: Mapping[str, np.ndarray]) -> None:
    fig, axes = figure(1, 2, width=9.0, height=3.6, sharey=True)
    for ax, (title, path) in zip(axes, paths.items(), strict=True):
        ax.plot(np.linspace(0, 1, len(path)), path)
        ax.set(title=title, xlabel="time t")
    axes[0].set(ylabel="entry of the state z(t)")
    context.figure(
        "paths",
        fig,
        "One test image on its way through two networks that began with the same weights: the "
        "five entries of the state (pixels, at t = 0) that move most without a regulariser, one "
        "colour an entry. Straighter paths take longer steps.",
        alt="Five curves that bend on the left, and are nearly straight on the right.",
    )


def table_networks(
    context: Context,
    found: Found,
    weights: Sequence[float],
    tolerances: Sequence[float],
    score: str,
    label: str,
) -> None:
    """Of each order the means over seeds."""
    orders = [order for order in found if order]
    rows = []
    for (order, runs), weight in zip(found.items(), (None, *weights), strict=True):
        mean = lambda pick, runs=runs: float(np.mean([pick(run) for run in runs]))
        rows.append(
            [
                named(order),
                weight,
                mean(lambda run: run[score]),
                float(np.std([r[score] for r in runs], ddof=1)) if len(runs) > 1 else None,
                *(mean(lambda run, i=i: run["nfe"][i]) for i in range(len(tolerances))),
                *(mean(lambda run, k=k: run[f"R_{k}"]) for k in orders),
                mean(lambda run: run["seconds"]),
            ]
        )
    context.table(
        "networks",
        [
            "regulariser",
            "weight",
            label,
            "std over seeds",
            *(f"evaluations at {tolerance:g}" for tolerance in tolerances),
            *(f"R_{k}" for k in orders),
            "training, s",
        ],
        rows,
        f"Means over {len(rows and found[0])} seeds. R_K is the true value on what is held out, "
        "integrated by a solve of its own: training itself never computes it. Seconds are those of "
        "all training steps of one model, at the median rate, once they are compiled.",
    )
