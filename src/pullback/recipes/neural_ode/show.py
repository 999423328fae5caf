"""How the recipe `neural-ode` shows what it measured."""

from collections.abc import Mapping, Sequence

import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.recipes.neural_ode.measure import ADJOINTS, STIFFNESS
from pullback.runs import Context

_COLOURS = {"plain scan": PALETTE[2], "Backsolve": PALETTE[1], "Replay": PALETTE[0]}


def draw_training(
    context: Context, runs: dict[str, list[dict]], sizes: dict[str, int], blocks: str
) -> None:
    """Errors and evaluations by epoch; `blocks` says what the residual networks are made of."""
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
    rows = []
    for kind, histories in runs.items():
        errors = [100 * h["validation_error"][-1] for h in histories]
        spread = float(np.std(errors, ddof=1)) if len(errors) > 1 else None
        rows.append([kind, sizes[kind], float(np.mean(errors)), spread])
    context.table(
        "training",
        ["network", "parameters", "test error, %", "std over seeds"],
        rows,
        f"Means over {len(nfe)} seeds. {blocks}",
    )


def draw_dial(context: Context, tolerances: Sequence[float], dials: list[dict]) -> None:
    fig, (left, right) = figure(1, 2, width=9.0, height=3.6)
    found = {name: np.array([dial[name] for dial in dials]) for name in dials[0]}
    left.plot(tolerances, found["nfe"].mean(axis=0), marker="o", color="grey", label="forward")
    for name in ADJOINTS:
        mean, text = found[name].mean(axis=0), f"backward, {name}"
        left.plot(tolerances, mean, marker="o", color=_COLOURS[name], label=text)
    left.set(title="What a tolerance costs", ylabel="function evaluations", ylim=(0, None))
    right.plot(tolerances, found["logit_error"].T, marker="o", color=PALETTE[1], alpha=0.7)
    right.plot(tolerances, tolerances, color="grey", linestyle=":", label="the tolerance itself")
    right.set(title="What it buys", ylabel="largest error of a logit", yscale="log")
    for ax in (left, right):
        ax.set(xlabel="tolerance", xscale="log")
        ax.invert_xaxis()
        ax.legend()
    ratio = np.mean(found["Backsolve"] / found["nfe"])
    context.figure(
        "tolerance",
        fig,
        "The tolerance is a dial that is turned when a trained network is used. Left, means over "
        "networks: an evaluation backward is one with its vector-Jacobian product. The paper, with "
        "an implicit Adams method, saw half as many backward as forward (figure 3c). That is not "
        f"found here: with Dopri5, Backsolve takes {ratio:.2f} times as many. Right, one line a "
        "network: float32 logits against a float64 solve at 1e-9.",
    )
    context.table(
        "tolerance",
        ["tolerance", "evaluations", *(f"backward, {name}" for name in ADJOINTS),
         "largest logit error", "test error, %"],
        [
            [f"{tolerance:g}", *(float(values[:, i].mean()) for values in found.values())]
            for i, tolerance in enumerate(tolerances)
        ],
        f"Means over {len(dials)} networks.",
    )  # fmt: skip


def draw_gradients(
    context: Context, steps: Sequence[int], memory: dict[str, list], trap: dict[str, np.ndarray]
) -> None:
    fig, (left, right) = figure(1, 2, width=9.0, height=3.6)
    for name, row in memory.items():
        left.plot(steps, row, marker="o", label=name, color=_COLOURS[name])
    left.set(title="Memory of a gradient", xlabel="solver steps (depth)", ylabel="MiB")
    left.set(xscale="log", yscale="log", xticks=steps, xticklabels=[str(n) for n in steps])
    left.minorticks_off()
    for name, errors in trap.items():
        right.plot(STIFFNESS, errors, marker="o", label=name, color=_COLOURS[name])
    right.set(title="The trap: z' = -k (z - cos t)", xlabel="stiffness k", yscale="log")
    right.set(ylabel="relative error of dz/dk")
    for ax in (left, right):
        ax.legend()
    context.figure(
        "gradients",
        fig,
        "Left: what the compiled gradient of a solve needs beyond its inputs and outputs, against "
        "the number of Heun steps; 256 states of size 128, a field of two layers. Right: paths "
        "that converge cannot be traced back, so the adjoint errs more than the gradient of the "
        "steps taken (tolerance 1e-4, exact gradient known).",
    )


def draw_spirals(
    context: Context, points: Sequence[int], found: Mapping[str, Sequence[Mapping]]
) -> None:
    """Held-out spirals and how each kind of model continues them; a row for each number of points.

    Args:
        context: The run.
        points: How many are seen.
        found: Of each kind of model what was found with each number of points: `said`, `truth` and
            `seen`, each `[spirals, times, 2]`.
    """
    size = len(next(iter(found.values()))[0]["truth"])
    fig, axes = figure(len(points), size, width=3.0 * size, height=2.7 * len(points))
    for i, (n, row) in enumerate(zip(points, axes, strict=True)):
        for number, ax in enumerate(row):
            one = next(iter(found.values()))[i]
            ax.plot(*one["truth"][number].T, color="black", linewidth=1, label="truth")
            for kind, each in found.items():
                ax.plot(*each[i]["said"][number].T, label=kind, linewidth=1.4)
            ax.plot(*one["seen"][number].T, "o", color="grey", markersize=2.5, label="seen")
        row[0].set_ylabel(f"{n} points seen")
    axes[0, 0].legend(fontsize="x-small")
    context.figure(
        "spirals",
        fig,
        "Three held-out spirals: of a window some points are seen, with noise, and what follows is "
        "told by each kind of model.",
        alt="Arcs of spirals that begin where grey dots end; each model's arc beside the true one.",
    )
