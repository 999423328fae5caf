"""How the recipe `latent-sde` shows what it measured on the five points."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, line_with_spread
from pullback.recipes.latent_sde import gradients, points
from pullback.recipes.latent_sde.config import Config
from pullback.runs import Context

_NAMES = {"sde": "latent SDE", "ode": "latent ODE", "exact": "exact"}
_SHOWN = ("exact", "sde", "ode")
_COLOURS = {"sde": PALETTE[0], "ode": PALETTE[1], "exact": PALETTE[-1]}


def draw_bands(context: Context, found: dict[str, Any]) -> None:
    fig, axes = figure(1, 3, width=12.0, height=3.8, sharex=True)
    t, moments = found["query"], found["moments"]
    for ax, name in zip(axes, ("sde", "ode"), strict=False):
        for which in (name, "exact"):
            (mean, std), colour = moments[which], _COLOURS[which]
            style: dict[str, Any] = {"linestyle": "--"} if which == "exact" else {}
            ax.plot(t, mean, color=colour, label=_NAMES[which], **style)
            if which == "exact":
                for end in (mean - 2 * std, mean + 2 * std):
                    ax.plot(t, end, color=colour, linewidth=0.9, linestyle=":")
            else:
                ax.fill_between(t, mean - 2 * std, mean + 2 * std, color=colour, alpha=0.25)
        ax.errorbar(
            *found["points"], yerr=2 * points.NOISE, fmt="o", color=PALETTE[-1], label="seen",
            markersize=4, linewidth=1,
        )  # fmt: skip
        ax.set(title=f"{_NAMES[name].capitalize().replace('sde', 'SDE').replace('ode', 'ODE')}")
        ax.set(xlabel="t", ylabel="z", ylim=(-1.75, 1.25))
        ax.legend(loc="upper right")
    for name, (_, std) in moments.items():
        style = {"linestyle": "--"} if name == "exact" else {}
        axes[2].plot(t, std, color=_COLOURS[name], label=_NAMES[name], **style)
    for time in points.SEEN:
        axes[2].axvline(time, color="grey", linewidth=0.7, linestyle=":")
    axes[2].set(title="Standard deviation of z", xlabel="t", ylim=(0, None))
    axes[2].legend(loc="upper right")
    context.figure(
        "bands",
        fig,
        "What is known of a path after five noisy points of it (dots, with two deviations of their "
        "noise): mean and two standard deviations. The latent SDE finds the exact posterior, "
        "dashed and dotted. A latent ODE with the same start, drift net and likelihood has no "
        "noise on the way: it goes through the points and is sure of itself after the start.",
        alt="The SDE's band lies on the exact one; the ODE's has no width after the start.",
    )


def draw_bounds(context: Context, samples: Sequence[int], found: list[dict[str, Any]]) -> None:
    fig, (left, right) = figure(1, 2, width=9.5, height=3.8)
    for name, label in (("exact", "exact control"), ("trained", "trained control")):
        gaps = np.array([f["evidence"] - np.array(f["elbo"][name]) for f in found])
        colour = _COLOURS["exact" if name == "exact" else "sde"]
        line_with_spread(left, points.STEPS, gaps, label=label, colour=colour)
    left.set(title="What the ELBO lacks", xlabel="Euler steps", ylabel="nats below the evidence")
    left.set(xscale="log", xticks=points.STEPS, xticklabels=[str(n) for n in points.STEPS])
    left.set(ylim=(0, None))
    left.minorticks_off()
    left.legend()
    gaps = np.array([np.array(f["iwae"]) - f["evidence"] for f in found])
    line_with_spread(right, samples, gaps, colour=_COLOURS["sde"])
    right.axhline(0, color=PALETTE[-1], linestyle="--", linewidth=1, label="exact evidence")
    right.set(title=f"Importance-weighted bound, {points.STEPS[-1]} steps", xscale="log")
    right.set(xlabel="paths in the bound", ylabel="bound minus evidence, nats")
    right.legend(loc="lower right")
    context.figure(
        "bounds",
        fig,
        "Bounds on the evidence, mean over seeds with a band of one standard deviation. Left: the "
        "exact control's gap is the steps' alone and falls with them. The net was trained with "
        f"{points.STEPS[0]} steps and is nearly as good there; run with finer ones it does not "
        "gain, since the exact control grows steeper just before a point. Right: weighting the "
        "paths by their importance closes the gap.",
    )


def table_posterior(context: Context, found: dict[str, Any]) -> None:
    columns = [points.at(found, name, points.ASKED) for name in _SHOWN]
    context.table(
        "posterior",
        ["t", *(f"{what}, {_NAMES[name]}" for what in ("mean", "deviation") for name in _SHOWN)],
        [
            [f"{t:g}", *(round(float(mean[i]), 3) for mean, _ in columns),
             *(round(float(std[i]), 3) for _, std in columns)]
            for i, t in enumerate(points.ASKED)
        ],
        "The posterior of z given the first five points: means and standard deviations.",
    )  # fmt: skip


def table_bounds(context: Context, found: list[dict[str, Any]]) -> None:
    header = ["points", "log-evidence"]
    for name in ("trained", "exact"):
        header += [f"ELBO, {name} control, {n} steps" for n in points.STEPS]
    context.table(
        "bounds",
        [*header, "importance-weighted"],
        [
            [i + 1, *(round(v, 3) for v in (f["evidence"], *f["elbo"]["trained"],
                                            *f["elbo"]["exact"], f["iwae"][-1]))]
            for i, f in enumerate(found)
        ],
        "Bounds on the evidence of each draw of the five points, in nats.",
    )  # fmt: skip


def draw_gradients(
    context: Context, config: Config, errors: dict[str, list], memory: dict[str, list]
) -> None:
    fig, (left, right) = figure(1, 2, width=9.5, height=3.8)
    colours = {"stochastic adjoint": PALETTE[1], "Replay": PALETTE[0], "plain scan": PALETTE[2]}
    for name, rows in errors.items():
        for k, (wanted, marker) in enumerate(zip(gradients.WANTED, "os^", strict=True)):
            left.plot(
                config.gradient_steps, [row[k] for row in rows], color=colours[name], marker=marker,
                linestyle="-" if name == "Replay" else "--", label=f"{name}, {wanted}",
            )  # fmt: skip
    left.set(title="Error of a gradient", ylabel="relative error")
    for name, row in memory.items():
        right.plot(config.memory_steps, row, marker="o", color=colours[name], label=name)
    right.set(title="Memory of a gradient", ylabel="MiB")
    for ax, steps in ((left, config.gradient_steps), (right, config.memory_steps)):
        ax.set(xscale="log", yscale="log", xlabel="solver steps", xticks=steps)
        ax.set_xticklabels([str(n) for n in steps])
        ax.xaxis.minorticks_off()
        ax.legend(fontsize=8)
    context.figure(
        "gradients",
        fig,
        "Left: gradients of a sum of squares of dZ = aZ dt + bZ o dW, by Heun's method, against "
        "the closed form on the same path. Right: what the compiled gradient of a neural SDE's "
        "solve needs beyond its inputs and outputs; 256 paths of 16 dimensions.",
    )


def table_gradients(
    context: Context, config: Config, errors: dict[str, list], memory: dict[str, list]
) -> None:
    context.table(
        "gradients",
        ["steps", *(f"{name}, d{w}" for name in errors for w in gradients.WANTED)],
        [
            [n, *(f"{e:.4f}" for rows in errors.values() for e in rows[i])]
            for i, n in enumerate(config.gradient_steps)
        ],
        f"Relative errors of gradients, means over {config.gradient_draws} draws of 64 paths.",
    )
    context.table(
        "memory",
        ["steps", *(f"{name}, MiB" for name in memory)],
        [[n, *(row[i] for row in memory.values())] for i, n in enumerate(config.memory_steps)],
        "Memory of a gradient.",
    )
