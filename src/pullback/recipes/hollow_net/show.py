"""How the recipe `hollow-net` shows what it measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, figure
from pullback.runs import Context

WAYS = {
    "field": "the field alone",
    "hollow": "exact, hollow",
    "hutchinson": "Hutchinson, one probe",
    "exact": "exact, full Jacobian",
}
TRACES = {"exact": "the exact trace", "hutchinson": "Hutchinson's"}
ROOTS = {
    "functional": "functional iteration",
    "jacobi_newton": "Jacobi-Newton",
    "newton": "full Newton",
}

EQUATIONS = {"learned": "the learned equation", "true": "the true equation", "normal": "a normal"}


def draw_cost(context: Context, costs: Sequence[dict[str, Any]]) -> None:
    """Operations and times of each way, by the size of the state."""
    dims = [row["dim"] for row in costs]
    fig, axes = figure(1, 2, width=8.4, height=3.6)
    panels = (("flops", 1e-6, "million operations"), ("seconds", 1e3, "milliseconds"))
    for ax, (kind, unit, label) in zip(axes, panels, strict=True):
        for name, text in WAYS.items():
            values = [unit * row[kind][name] for row in costs]
            ax.plot(
                dims, values, marker="o", label=text, linestyle="--" if name == "field" else "-"
            )
        ax.set(xscale="log", yscale="log", xlabel="size of the state, d", ylabel=f"{label} a call")
        ax.set_xticks(dims, [str(dim) for dim in dims])
        ax.minorticks_off()
    axes[0].legend()
    context.figure(
        "cost",
        fig,
        "What a hollow net and its divergence cost for a batch of states: floating-point "
        "operations as the compiler counts them, and the least time of a call. The hollow "
        "divergence is exact, and costs what the field alone costs.",
    )


def draw_scores(context: Context, steps: Sequence[int], scores: Sequence[dict[str, Any]]) -> None:
    """Held-out scores by the number of solver steps that they are found with."""
    fig, ax = figure(width=6.4, height=3.8)
    for number, row in enumerate(scores):
        for (name, text), colour in zip(TRACES.items(), PALETTE, strict=False):
            label = f"trained with {text}" if number == 0 else None
            ax.plot(steps, row[name], color=colour, marker="os^Dv"[number % 5], label=label)
    ax.set(
        xscale="log",
        xlabel="midpoint steps of the solve that scores",
        ylabel="held-out negative\nlog-likelihood (nats)",
    )
    ax.set_xticks(steps, [str(count) for count in steps])
    ax.minorticks_off()
    ax.margins(y=0.25)
    ax.legend(loc="upper left", ncols=2)
    context.figure(
        "scores",
        fig,
        "Held-out score of each flow, by the exact trace; a marker's shape is a seed. Coarse steps "
        "flatter a flow: the score is the one at the right. Within each seed the flow trained with "
        "the exact trace lies lower, which is better.",
    )


def draw_roots(context: Context, roots: Mapping[str, Float[np.ndarray, "seeds steps"]]) -> None:
    """The residual of an implicit step, iteration by iteration."""
    fig, ax = figure(width=6.4, height=3.8)
    for (name, text), colour in zip(ROOTS.items(), ("#D55E00", "#0072B2", "#009E73"), strict=True):
        for number, path in enumerate(roots[name]):
            shown = np.maximum(path, 1e-17)
            ax.plot(shown, color=colour, marker="o", label=text if number == 0 else None)
    ax.set(
        yscale="log", xlabel="iterations", ylabel="largest residual", ylim=(1e-17, 1e9),
    )  # fmt: skip
    ax.legend()
    context.figure(
        "roots",
        fig,
        "One implicit Euler step of a stiff field, a line a seed. Jacobi-Newton divides by the "
        "diagonal of the Jacobian, which a hollow net gives at the cost of an evaluation; full "
        "Newton needs the whole Jacobian and solves with it.",
    )


def draw_equation(context: Context, row: Mapping[str, Any]) -> None:
    """Held-out paths, and those of the equation that was learned, at three times."""
    real, learned = row["real"], row["learned"]
    times = (0, len(real) // 2, len(real) - 1)
    fig, axes = figure(2, len(times), width=7.6, height=4.6)
    for line, (paths, label) in zip(axes, ((real, "held out"), (learned, "learned")), strict=True):
        for ax, place in zip(line, times, strict=True):
            ax.plot(*paths[place].T, ".", markersize=2, alpha=0.6)
            ax.set(xlim=(-2, 2), ylim=(-1.5, 2.5), title=f"{label}, t = {place / times[-1]:.1f}")
    context.figure(
        "equation", fig,
        "Paths of the true equation, and of one learned from snapshots of others by the "
        "Fokker-Planck equation; of other starts, as simulated.",
    )  # fmt: skip


def draw_posteriors(
    context: Context, scores: Mapping[str, Mapping[str, Sequence[float]]], samples: int
) -> None:
    """The held-out scores of autoencoders by their posteriors."""
    context.table(
        "posteriors",
        ["posterior", "ELBO", f"NLL, {samples} samples"],
        [
            [name, float(np.mean(kept["elbo"])), float(np.mean(kept["nll"]))]
            for name, kept in scores.items()
        ],
        "Held-out nats, means over seeds.",
    )
    fig, axes = figure(1, 2, width=8.4, height=2.6)
    for ax, (kind, label) in zip(axes, (("elbo", "ELBO"), ("nll", "NLL")), strict=True):
        for row in zip(*(kept[kind] for kept in scores.values()), strict=True):
            ax.plot(row, range(len(row)), "o-", color=PALETTE[0], alpha=0.7)
        ax.set_yticks(range(len(scores)), list(scores))
        ax.invert_yaxis()
        ax.set(xlabel=f"held-out {label} (nats)")
        ax.locator_params(axis="x", nbins=4)
    context.figure(
        "posteriors",
        fig,
        "Scores of autoencoders by their posterior; a line joins those of a seed.",
    )
