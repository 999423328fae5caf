"""The pictures of the recipe `residual-flow`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, density_image, figure
from pullback.runs import Context

_HALF_WIDTH = 4.5
_GAMMA = 0.6


def draw_gaps(
    context: Context, scores: Mapping[str, Sequence[dict[str, float]]], floor: float
) -> None:
    """What each kind of flow says of itself, and what is true."""
    fig, ax = figure(width=6.4, height=3.4)
    for place, rows in enumerate(scores.values()):
        for kind, shift, colour in (("own", -0.12, PALETTE[1]), ("exact", 0.12, PALETTE[0])):
            values = [row[kind] for row in rows]
            ax.plot([place + shift] * len(values), values, "o", color=colour, alpha=0.8,
                    label={"own": "by its own estimate", "exact": "exactly"}[kind] if not place
                    else None)  # fmt: skip
        ax.plot([place - 0.12, place + 0.12],
                [np.mean([row[kind] for row in rows]) for kind in ("own", "exact")],
                color="0.6", lw=1, zorder=0)  # fmt: skip
    ax.axhline(floor, color="0.3", ls=":", label="entropy of the data: nothing can be below")
    ax.set_xticks(range(len(scores)), [f"{name}" for name in scores])
    ax.set(ylabel="nats a point, held out", xlabel="log-determinants in training")
    ax.legend()
    context.figure(
        "gap",
        fig,
        "The negative log-likelihood of held-out points, as each flow estimates it in training and "
        "as it is, a dot for each seed. A truncated series is biased, and the flow has learnt to "
        "use the bias: it reports what no density can reach, and is the worse for it. The "
        "roulette's figure is honest.",
    )


def draw_training(
    context: Context, histories: Mapping[str, Float[np.ndarray, "points seeds"]], floor: float
) -> None:
    """The losses that the flows were trained on."""
    fig, ax = figure(width=6.4, height=3.4)
    for name, history in histories.items():
        steps = 50 * np.arange(1, len(history) + 1)
        ax.plot(steps, history.mean(axis=1), label=name)
        ax.fill_between(steps, history.min(axis=1), history.max(axis=1), alpha=0.15)
    ax.axhline(floor, color="0.3", ls=":", label="entropy of the data")
    ax.set(xlabel="training steps", ylabel="training loss, nats", ylim=(floor - 2.5, None))
    ax.legend()
    context.figure(
        "training",
        fig,
        "The loss that each flow sees: mean and range over the seeds. Those that fall through the "
        "dotted line are not likelihoods.",
    )


def draw_densities(
    context: Context,
    points: Float[np.ndarray, "n 2"],
    densities: Mapping[str, Float[np.ndarray, "side side"]],
    samples: Mapping[str, Float[np.ndarray, "m 2"]],
) -> None:
    """Data, and for each kind of flow its density over its samples."""
    fig, axes = figure(2, len(densities) + 1, width=2.1 * (len(densities) + 1), height=4.5)
    extent = (-_HALF_WIDTH, _HALF_WIDTH, -_HALF_WIDTH, _HALF_WIDTH)
    largest = max(float(density.max()) for density in densities.values())
    axes[0, 0].scatter(*points[:4000].T, s=1, alpha=0.4, linewidths=0)
    axes[0, 0].set_title("data")
    axes[1, 0].axis("off")
    for column, (name, density) in enumerate(densities.items(), start=1):
        density_image(axes[0, column], np.minimum(density / largest, 1) ** _GAMMA, extent)
        axes[0, column].set_title(name)
        axes[1, column].scatter(*samples[name][:4000].T, s=1, alpha=0.4, linewidths=0)
    for ax in axes.ravel():
        ax.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[], aspect="equal")
        ax.grid(False)
    axes[0, 1].set_ylabel("density")
    axes[1, 1].set_ylabel("samples")
    context.figure(
        "densities",
        fig,
        "The checkerboard; the exact densities of flows trained with each way of finding "
        f"log-determinants (to the power {_GAMMA}, first seed); and their samples.",
    )


def draw_variance(context: Context, found: Mapping[str, Any]) -> None:
    """The variance of the roulette against the size of the Jacobian."""
    fig, ax = figure(width=6.4, height=3.4)
    for colour, (ratio, row) in zip(PALETTE, found["ratios"].items(), strict=False):
        ax.semilogy(row["rho"], row["exact"], color=colour, label=f"ratio {ratio}, exact")
        ax.semilogy(row["rho"], row["measured"], "o", color=colour, ms=4, label="measured")
        ax.axvline(float(ratio) ** 0.5, color=colour, ls=":")
    ax.set(
        xlabel="Lipschitz constant: J = -rho I in one dimension", ylabel="variance, nats squared"
    )
    ax.legend()
    context.figure(
        "variance",
        fig,
        "The variance of the estimate of ln(1 - rho) with two exact terms and a geometric "
        "distribution. At the dotted lines, rho squared = ratio, it becomes infinite. Three layers "
        "of norm 0.98 would allow a rho of 0.94.",
    )
