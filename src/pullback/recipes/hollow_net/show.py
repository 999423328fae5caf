"""The pictures of the recipe `hollow-net`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.runs import Context

WAYS = {
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


def draw_cost(context: Context, costs: Sequence[dict[str, Any]]) -> None:
    """Operations and times of each way, by the size of the state."""
    dims = [row["dim"] for row in costs]
    fig, axes = figure(1, 2, width=8.4, height=3.6)
    panels = (("flops", 1e-6, "million operations"), ("seconds", 1e3, "milliseconds"))
    for ax, (kind, unit, label) in zip(axes, panels, strict=True):
        for name, text in {"field": "the field alone", **WAYS}.items():
            ax.plot(
                dims,
                [unit * row[kind][name] for row in costs],
                marker="o",
                label=text,
                **({"color": "#7b8794", "linestyle": "--"} if name == "field" else {}),
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


def draw_training(
    context: Context, histories: Mapping[str, Sequence[Sequence[dict[str, Any]]]]
) -> None:
    """The training loss of both kinds of flow."""
    fig, ax = figure(width=6.4, height=3.6)
    for name, runs in histories.items():
        steps = [entry["step"] for entry in runs[0]]
        losses = [[entry["loss"] for entry in run] for run in runs]
        line_with_spread(ax, steps, losses, label=TRACES[name], marker=None)
    ax.set(xlabel="training steps", ylabel="negative log-likelihood (nats)")
    ax.legend()
    context.figure(
        "training",
        fig,
        "Negative log-likelihood of the digits in training, as each flow sees it: mean and "
        "standard deviation over the seeds. Both kinds start from the same weights and see the "
        "same batches.",
    )


def draw_scores(context: Context, steps: Sequence[int], scores: Sequence[dict[str, Any]]) -> None:
    """Held-out scores by the number of solver steps that they are found with."""
    fig, ax = figure(width=6.4, height=3.8)
    for number, row in enumerate(scores):
        for (name, text), colour in zip(TRACES.items(), PALETTE, strict=False):
            ax.plot(
                steps,
                row[name],
                color=colour,
                marker="os^Dv"[number % 5],
                label=f"trained with {text}" if number == 0 else None,
            )
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


def draw_jacobians(
    context: Context, rows: Float[np.ndarray, "dim dim"], field: Float[np.ndarray, "dim dim"]
) -> None:
    """The derivatives of the conditioner and of the field, as images."""
    fig, axes = figure(1, 2, width=8.4, height=3.9)
    for ax, values, title in zip(
        axes,
        (rows, field),
        ("conditioner: nothing on the diagonal", "field: the diagonal comes cheap"),
        strict=True,
    ):
        top = np.quantile(values, 0.995)
        image = ax.imshow(np.minimum(values, top), vmin=0, cmap="cividis", interpolation="nearest")
        ax.grid(False)
        ax.set(xlabel="derivative by pixel", ylabel="row of pixel")
        ax.set_title(title, fontsize=10)
        fig.colorbar(image, ax=ax, shrink=0.85, label="mean size of the derivative")
    context.figure(
        "jacobians",
        fig,
        "Derivatives of the trained net on held-out digits, 64 pixels by 64: of what each pixel's "
        "own net is told about the others (left), and of the velocity (right).",
    )


def draw_samples(
    context: Context, images: Float[np.ndarray, "n 64"], samples: Float[np.ndarray, "n 64"]
) -> None:
    """Digits beside samples of the flow."""
    fig, axes = figure(1, 2, width=7.6, height=2.2)
    for ax, pixels, title in zip(axes, (images, samples), ("digits", "samples"), strict=True):
        columns = 8
        tiles = pixels.reshape(-1, columns, 8, 8)
        tiles = np.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1)))
        sheet = tiles.transpose(0, 2, 1, 3).reshape(len(tiles) * 10, columns * 10)
        ax.imshow(np.clip(sheet, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set(xticks=[], yticks=[], title=title)
        ax.spines[:].set_visible(False)
        ax.grid(False)
    context.figure(
        "samples",
        fig,
        "Held-out digits, and samples of the flow that was trained with the exact trace. The flow "
        "is small, and was trained for seconds.",
    )
