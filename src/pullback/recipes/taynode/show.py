"""How the recipe `taynode` shows what it measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.runs import Context

Found = Mapping[int, Sequence[Mapping[str, Any]]]


def named(order: int) -> str:
    """What a network is called that was trained with R_K; K = 0 is none."""
    return f"K = {order}" if order else "none"


def draw_cost_and_error(context: Context, found: Found, tolerances: Sequence[float]) -> None:
    fig, ax = figure(width=6.4, height=4.2)
    middle = (len(found) - 1) / 2
    for i, (order, rows) in enumerate(found.items()):
        # Counts are few different numbers: marks stand side by side, so that none hides another.
        nfe = np.array([row["nfe"][-1] for row in rows]) + 0.8 * (i - middle)
        error, colour, marker = [row["error"] for row in rows], PALETTE[i % 7], "osD^vP*"[i % 7]
        ax.scatter(nfe, error, color=colour, marker=marker, alpha=0.6, s=30, linewidths=0)
        ax.scatter(
            np.mean(nfe), np.mean(error), edgecolors=colour, facecolors="none", marker=marker,
            s=150, linewidths=1.8, label=named(order),
        )  # fmt: skip
    runs = [row for rows in found.values() for row in rows]
    dearest = max(row["nfe"][-1] for row in runs)
    highest = max(row["error"] for row in runs)
    ax.set(
        title="What a network costs, and how well it reads",
        xlabel=f"function evaluations at tolerance {tolerances[-1]:g}",
        ylabel="test error, %",
        xlim=(0, 1.08 * dearest),
        ylim=(0, 1.15 * highest),
    )
    ax.legend(title="regulariser", loc="lower left", labelspacing=0.9)
    context.figure(
        "cost-and-error",
        fig,
        "Evaluations to solve the test images, against test error: one small mark a network, one "
        "open mark for the mean over seeds, moved a little sideways so that all are seen. To the "
        "left is cheaper, and below is better.",
        alt="The networks with a regulariser lie left of those without, at about the same height.",
    )


def draw_paths(context: Context, paths: Mapping[str, np.ndarray], order: int) -> None:
    fig, axes = figure(1, 2, width=9.0, height=3.6, sharey=True)
    titles = ("without regulariser", f"with $R_{order}$")
    for ax, title, name in zip(axes, titles, ("plain", "regularised"), strict=True):
        ax.plot(paths["times"], paths[name])
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


def draw_evaluations(context: Context, found: Found, tolerances: Sequence[float]) -> None:
    fig, ax = figure(width=6.4, height=3.8)
    width = 0.8 / len(tolerances)
    places = np.arange(len(found))
    for i, tolerance in enumerate(tolerances):
        counts = np.array([[row["nfe"][i] for row in rows] for rows in found.values()])
        shift = (i - (len(tolerances) - 1) / 2) * width
        mean = counts.mean(axis=1)
        spread = [mean - counts.min(axis=1), counts.max(axis=1) - mean]
        bars = ax.bar(
            places + shift, mean, 0.92 * width, yerr=spread, capsize=3, color=PALETTE[i],
            label=f"{tolerance:g}",
        )  # fmt: skip
        ax.bar_label(bars, fmt="%.0f", padding=3)
    ax.set_xticks(places, [named(order) for order in found])
    ax.set(title="Evaluations to solve the test images", ylabel="function evaluations")
    ax.margins(y=0.12)
    ax.grid(axis="x", visible=False)
    ax.legend(title="tolerance")
    context.figure(
        "evaluations",
        fig,
        "Function evaluations of trained networks with each regulariser: the mean over seeds; the "
        "whiskers reach from the least to the most.",
    )


def draw_modes(context: Context, modes: Mapping[str, Any]) -> None:
    fig, (left, right) = figure(1, 2, width=9.0, height=3.6)
    for ax, what, title, unit in (
        (left, "run_ms", "Run time", "milliseconds"),
        (right, "compile_s", "Compile time", "seconds"),
    ):
        for mode, colour, label in (
            ("taylor", PALETTE[0], "Taylor mode"),
            ("nested", PALETTE[1], "nested JVPs"),
        ):
            ax.plot(modes["order"], modes[f"{mode}_{what}"], marker="o", color=colour, label=label)
        ax.set(title=title, xlabel="order K", ylabel=unit, ylim=(0, None), xticks=modes["order"])
    left.legend()
    context.figure(
        "modes",
        fig,
        "Value and gradient of R_K by Taylor mode and by nested Jacobian-vector products, on one "
        "trained network and 64 images (float64, 8 Gauss nodes in time; the best of 20 runs). "
        "The two agree to rounding; what they cost differs.",
    )


def table_networks(
    context: Context, found: Found, weights: Sequence[float], tolerances: Sequence[float]
) -> None:
    orders = [order for order in found if order]
    rows = []
    for (order, runs), weight in zip(found.items(), (None, *weights), strict=True):
        mean = lambda pick, runs=runs: float(np.mean([pick(run) for run in runs]))
        rows.append(
            [
                named(order),
                weight,
                mean(lambda run: run["error"]),
                float(np.std([r["error"] for r in runs], ddof=1)) if len(runs) > 1 else None,
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
            "test error, %",
            "std over seeds",
            *(f"evaluations at {tolerance:g}" for tolerance in tolerances),
            *(f"R_{k}" for k in orders),
            "training, s",
        ],
        rows,
        f"Means over {len(rows and found[0])} seeds. R_K is the true value on test images, "
        "integrated by a solve of its own: training itself never computes it. Seconds are those of "
        "all training steps of one network, at the median rate, once they are compiled.",
    )


def table_modes(context: Context, modes: Mapping[str, Any]) -> None:
    names = ["taylor_run_ms", "nested_run_ms", "taylor_compile_s", "nested_compile_s"]
    gaps = ["value_gap", "gradient_gap"]
    context.table(
        "modes",
        [
            "K",
            "Taylor, ms",
            "nested, ms",
            "Taylor compiles, s",
            "nested compiles, s",
            "difference of R_K",
            "difference of its gradient",
        ],
        [
            [
                order,
                *(modes[name][i] for name in names),
                *(f"{modes[name][i]:.1e}" for name in gaps),
            ]
            for i, order in enumerate(modes["order"])
        ],
        "Value and gradient of R_K for K = "
        f"{modes['order'][0]} to {modes['order'][-1]}, as in the figure; differences are relative.",
    )
