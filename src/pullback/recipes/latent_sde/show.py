"""How the recipe `latent-sde` shows what it measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.latent_sde import gradients, points
from pullback.runs import Context


def draw_bands(context: Context, found: dict[str, Any]) -> None:
    fig, (left, right) = figure(1, 2, width=9.5, height=3.8, sharex=True)
    for name, colour, style, label in (
        ("model", PALETTE[0], "-", "latent SDE"),
        ("exact", PALETTE[-1], "--", "exact"),
    ):
        mean, std = found[name]
        left.plot(points.QUERY, mean, color=colour, linestyle=style, label=label)
        for end in (mean - 2 * std, mean + 2 * std):
            left.plot(points.QUERY, end, color=colour, linestyle=style, linewidth=0.9)
        right.plot(points.QUERY, std, color=colour, linestyle=style, label=label)
    left.errorbar(
        *found["points"], yerr=2 * points.NOISE, fmt="o", color=PALETTE[1], label="seen",
        markersize=4, linewidth=1,
    )  # fmt: skip
    for time in points.SEEN:
        right.axvline(time, color="grey", linewidth=0.7, linestyle=":")
    left.set(title="What is known of z", xlabel="t", ylabel="z")
    right.set(title="Standard deviation of z", xlabel="t", ylim=(0, None))
    right.legend(loc="upper right")
    left.legend(loc="upper right")
    context.figure(
        "bands",
        fig,
        "What is known of a path after five noisy points of it (dots, with two deviations of their "
        "noise): mean and two standard deviations. The latent SDE finds the exact posterior, "
        "dashed, which is wide where nothing was seen.",
        alt="The latent SDE's mean and band lie on the exact ones.",
    )


def draw_gradients(
    context: Context,
    errors: np.ndarray,
    error_steps: Sequence[int],
    memory: dict[str, list[float]],
    memory_steps: Sequence[int],
) -> None:
    fig, (left, right) = figure(1, 2, width=9.5, height=3.8)
    for wanted, row in zip(gradients.WANTED, np.transpose(errors), strict=True):
        left.plot(error_steps, row, marker="o", label=f"gradient in {wanted}")
    for name, row in memory.items():
        right.plot(memory_steps, row, marker="o", label=name)
    left.set(title="Error by the stochastic adjoint", ylabel="relative error")
    right.set(title="Memory of a gradient", ylabel="MiB")
    for ax, steps in ((left, error_steps), (right, memory_steps)):
        ax.set(xscale="log", yscale="log", xlabel="solver steps")
        ax.set_xticks(steps, [str(n) for n in steps])
        ax.xaxis.minorticks_off()
        ax.legend()
    context.figure(
        "gradients",
        fig,
        "Left: gradients of a sum of squares of dZ = aZ dt + bZ o dW, by Heun's method, against "
        "the closed form on the same path. Right: what the compiled gradient of a neural SDE's "
        "solve needs beyond its inputs and outputs; 256 paths of 16 dimensions.",
    )
