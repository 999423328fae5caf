"""The pictures of the recipe `cnf`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.plots import density_image, figure, line_with_spread
from pullback.runs import Context

# Drawn as it is, a density is a few bright ridges in the dark.
_GAMMA = 0.6


def flow_in_time(
    context: Context,
    times: Sequence[float],
    rows: Sequence[
        tuple[str, Float[np.ndarray, "times side side"], Float[np.ndarray, "n times 2"]]
    ],
    half_width: float,
) -> None:
    """A row for each flow: its name, and a picture of its density and its points at each time."""
    extent = (-half_width, half_width, -half_width, half_width)
    size = 2.1
    fig, axes = figure(
        len(rows), len(times), width=size * len(times), height=size * len(rows) + 0.3
    )
    for row, (name, densities, points) in zip(axes, rows, strict=True):
        for i, (ax, density) in enumerate(zip(row, densities, strict=True)):
            density_image(ax, density**_GAMMA, extent, points=points[:, i])
            ax.spines[:].set_visible(False)
        row[0].set_ylabel(name, fontweight="bold")
    for ax, time in zip(axes[0], times, strict=True):
        ax.set_title(f"t = {time:g}", loc="center", fontweight="normal")
    context.figure(
        "flow",
        fig,
        "The flow in time: a Gaussian at t = 0 becomes the learned density at t = 1. Colour is the "
        f"density to the power {_GAMMA}, so that thin parts show; each white dot is one point, "
        "carried along.",
        alt="Panels from left to right: a round blob bends and splits into two moons in the top "
        "row, and into eight spots in the bottom row.",
    )


def training_curves(
    context: Context,
    curves: Sequence[tuple[str, Sequence[Sequence[dict[str, Any]]], Sequence[float]]],
) -> None:
    """The training loss of flows of each kind over seeds, and their scores on held-out points."""
    fig, ax = figure(width=6.4, height=3.6)
    for number, (name, histories, held_out) in enumerate(curves):
        steps = [entry["step"] for entry in histories[0]]
        losses = [[entry["loss"] for entry in history] for history in histories]
        line_with_spread(ax, steps, losses, label=f"{name} trace, training", marker=None)
        ax.errorbar(
            steps[-1] * (1.03 + 0.02 * number),
            np.mean(held_out),
            np.std(held_out, ddof=1) if len(held_out) > 1 else 0,
            fmt="o",
            color=ax.lines[-1].get_color(),
            capsize=3,
            label=f"{name} trace, held out",
        )
    last = np.concatenate([[entry["loss"] for entry in h] for _, hs, _ in curves for h in hs])
    ax.set(xlabel="training steps", ylabel="nats", ylim=(last.min() - 0.05, None))
    ax.legend()
    context.figure(
        "training",
        fig,
        "Negative log-likelihood on the two moons, trained with the exact trace and with "
        "Hutchinson's estimate of it: mean and standard deviation over the seeds. The scores on "
        "held-out points at the right are exact for both.",
    )
