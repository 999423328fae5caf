"""How the recipe `neural-ode` shows what it measured."""

from collections.abc import Sequence

import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.runs import Context


def draw_paths(context: Context, found: dict[str, np.ndarray], labels: np.ndarray) -> None:
    from matplotlib import colormaps, patheffects

    paths = found["paths"]
    hue = lambda c: colormaps["tab10"](int(c) % 10)
    fig, axes = figure(1, 3, width=11.0, height=4.1, sharex=True, sharey=True)
    titles = ("t = 0: as the stem gives it", "0 < t < 1: on the way", "t = 1: as the head sees it")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(False)
    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    for c in np.unique(labels):
        rows = paths[:, labels == c]
        for ax, end in ((axes[0], rows[0]), (axes[2], rows[-1])):
            ax.scatter(*end.T, s=11, color=hue(c), alpha=0.75, linewidths=0)
        axes[1].plot(*np.moveaxis(rows[:, :30], -1, 0), color=hue(c), alpha=0.45, linewidth=0.8)
        axes[1].scatter(*rows[-1, :30].T, s=7, color=hue(c), linewidths=0)
        axes[2].text(
            *np.median(rows[-1], axis=0), f"{c}", fontsize=15, fontweight="bold", color=hue(c),
            ha="center", va="center", path_effects=halo,
        )  # fmt: skip
    context.figure(
        "paths",
        fig,
        "Test images inside an ODE network, one colour a digit, in the plane of the hidden space "
        "where the digits' means at t = 1 differ most. The flow of one learned vector field pulls "
        "them apart, so that a linear layer can tell them.",
        alt="Ten mixed clouds of points at t = 0 flow apart into ten clusters at t = 1.",
    )


def draw_training(context: Context, runs: dict[str, list[dict]]) -> None:
    fig, (left, right) = figure(1, 2, width=9.0, height=3.6)
    for kind, histories in runs.items():
        errors = np.array([100 * h["validation_error"] for h in histories])
        line_with_spread(left, 1 + np.arange(errors.shape[1]), errors, label=kind, marker=None)
    ticks = (1, 2, 3, 5, 10, 20, 50)
    left.set(title="Test error", xlabel="epoch", ylabel="%", yscale="log")
    left.set_yticks(ticks, [f"{tick}" for tick in ticks])
    left.minorticks_off()
    left.legend()
    nfe = np.array([h["validation_nfe"] for h in runs["ODE network"]])
    line_with_spread(right, 1 + np.arange(nfe.shape[1]), nfe, marker=None)
    right.set(title="Evaluations of a forward solve", xlabel="epoch", ylabel="on test images")
    context.figure(
        "training",
        fig,
        "Training: the mean over seeds, with a band of one standard deviation. The dynamics get "
        "harder to solve as they are learned.",
    )


def table_training(context: Context, runs: dict[str, list[dict]], sizes: dict[str, int]) -> None:
    rows = []
    for kind, histories in runs.items():
        last = {name: [h[name][-1] for h in histories] for name in histories[0]}
        rates = [np.median(h["steps_per_second"]) for h in histories]
        rows.append(
            [
                kind,
                sizes[kind],
                float(100 * np.mean(last["validation_error"])),
                float(100 * np.std(last["validation_error"], ddof=1)) if len(rates) > 1 else None,
                float(np.mean(last["validation_nfe"])) if "validation_nfe" in last else None,
                float(last["step"][0] / np.median(rates)),
            ]
        )
    context.table(
        "training",
        [
            "network",
            "parameters",
            "test error, %",
            "std over seeds",
            "evaluations of a solve",
            "seconds a run",
        ],
        rows,
        f"Means over {len(rates)} seeds. Seconds are those of the training steps of one run, "
        "at the median rate, once the program is compiled. The blocks of the residual network are "
        "LayerNorm, linear, tanh, linear; how close the ODE network comes depends on that choice, "
        "so the same network with relu stands beside it.",
    )


def draw_dial(context: Context, tolerances: Sequence[float], dials: list[dict]) -> None:
    fig, (left, right) = figure(1, 2, width=9.0, height=3.6)
    nfe, errors = (np.array([d[name] for d in dials]) for name in ("nfe", "logit_error"))
    left.plot(tolerances, nfe.T, marker="o", color=PALETTE[0], alpha=0.7)
    left.set(title="What a tolerance costs", ylabel="function evaluations", ylim=(0, None))
    right.plot(tolerances, errors.T, marker="o", color=PALETTE[1], alpha=0.7)
    right.plot(tolerances, tolerances, color="grey", linestyle=":", label="the tolerance itself")
    right.set(title="What it buys", ylabel="largest error of a logit", yscale="log")
    right.legend()
    for ax in (left, right):
        ax.set(xlabel="tolerance", xscale="log")
        ax.invert_xaxis()
    context.figure(
        "tolerance",
        fig,
        "The tolerance is a dial that is turned when a trained network is used; one line a "
        "network. The error is that of the float32 logits against a float64 solve at 1e-9.",
    )
    context.table(
        "tolerance",
        ["tolerance", "function evaluations", "largest logit error", "test error, %"],
        [
            [f"{tolerance:g}", *(float(np.mean([d[key][i] for d in dials])) for key in dials[0])]
            for i, tolerance in enumerate(tolerances)
        ],
        f"Means over {len(dials)} networks.",
    )


def draw_cost(context: Context, tolerances: Sequence[float], costs: list[dict]) -> None:
    fig, ax = figure(width=5.6, height=4.0)
    forward = np.array([c["forward"] for c in costs])
    for name, marker, colour in (("Backsolve", "o", PALETTE[1]), ("Replay", "s", PALETTE[0])):
        backward = np.array([c[name] for c in costs])
        ax.scatter(forward, backward, marker=marker, color=colour, alpha=0.7, label=name)
    ratio = np.mean(np.array([c["Backsolve"] for c in costs]) / forward)
    line = np.array([0, forward.max() * 1.05])
    ax.plot(line, line, color="grey", linewidth=1, label="as many")
    ax.plot(line, line / 2, color="grey", linewidth=1, linestyle=":", label="half (the paper)")
    ax.set(
        title="Evaluations of a gradient",
        xlabel="forward",
        ylabel="backward",
        xlim=(0, None),
        ylim=(0, None),
    )
    ax.legend()
    context.figure(
        "cost",
        fig,
        f"Evaluations for the gradient of the mean loss, at tolerances {tolerances[0]:g} to "
        f"{tolerances[-1]:g}. Backward, each is an evaluation with its vector-Jacobian product. "
        "The paper, with an implicit Adams method, saw half as many backward as forward (figure "
        f"3c). That is not found here: with Dopri5, Backsolve takes {ratio:.2f} times as many.",
    )


def draw_memory(context: Context, steps: Sequence[int], memory: dict[str, list]) -> None:
    fig, ax = figure(width=5.6, height=4.0)
    for name, row in memory.items():
        ax.plot(steps, row, marker="o", label=name)
    ax.set(title="Memory of a gradient", xlabel="solver steps (depth)", ylabel="MiB")
    ax.set(xscale="log", yscale="log", xticks=steps, xticklabels=[str(n) for n in steps])
    ax.minorticks_off()
    ax.legend()
    context.figure(
        "memory",
        fig,
        "What the compiled gradient of a solve needs beyond its inputs and outputs, against the "
        "number of Heun steps; 256 states of size 128, a field of two layers.",
    )


def draw_gradients(
    context: Context,
    tolerances: Sequence[float],
    gaps: list[list[float]],
    stiffness: Sequence[float],
    trap: dict[str, list],
) -> None:
    fig, (left, right) = figure(1, 2, width=9.0, height=3.6)
    left.plot(tolerances, np.array(gaps).T, marker="o", color=PALETTE[2], alpha=0.7)
    left.set(title="Two gradients of one network", xlabel="tolerance", xscale="log", yscale="log")
    left.set(ylabel="relative difference")
    left.invert_xaxis()
    for name, errors in trap.items():
        colour = PALETTE[1] if name == "Backsolve" else PALETTE[0]
        right.plot(stiffness, errors, marker="o", label=name, color=colour)
    right.set(title="The trap: z' = -k (z - cos t)", xlabel="stiffness k", yscale="log")
    right.set(ylabel="relative error of dz/dk")
    right.legend()
    context.figure(
        "gradients",
        fig,
        "Left: the gradients of the training loss by Backsolve and by Replay agree as the "
        "tolerance falls. Right: paths that converge cannot be traced back, so the adjoint errs "
        "more than the gradient of the steps taken (tolerance 1e-4, exact gradient known).",
    )
