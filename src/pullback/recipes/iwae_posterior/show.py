"""The pictures of the recipe `iwae-posterior`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, density_image, figure
from pullback.recipes.iwae_posterior import measure
from pullback.runs import Context

_FAINT = "#7b8794"


def draw_one_dimension(
    context: Context, found: Mapping[str, Any], sets: Sequence[int], few: np.ndarray
) -> None:
    """The implied posterior for each k, the bounds, and the bias of an estimated density's log."""
    fig, axes = figure(1, 3, width=11.4, height=3.6)
    axes[0].fill_between(
        measure.AXIS, found["exact"], color=_FAINT, alpha=0.3, linewidth=0, label="posterior"
    )
    for k, density in zip(found["k"], found["density"], strict=True):
        axes[0].plot(measure.AXIS, density, label="q" if k == 1 else f"implied, k = {k}")
    axes[0].set(xlim=(-5, 5), xlabel="z", ylabel="density")
    axes[0].legend(fontsize=8)
    axes[1].plot(found["k"], found["elbo"], marker="o", label="ELBO of the implied posterior")
    axes[1].plot(found["k"], found["bound"], marker="s", label="importance-weighted bound")
    axes[1].set(xscale="log", xlabel="samples, k", ylabel="nats")
    axes[1].set_xticks(found["k"], [str(k) for k in found["k"]])
    axes[1].minorticks_off()
    axes[2].errorbar(sets, few[:, 0], 4 * few[:, 1], marker="o", capsize=3, label="estimated ELBO")
    axes[2].set(xscale="log", xlabel="sets of proposals for each density")
    for ax in axes[1:]:
        ax.axhline(measure.LOG_EVIDENCE, color=_FAINT, linestyle="--", label="log p(x)")
        ax.legend(fontsize=8)
    context.figure(
        "one-dimension",
        fig,
        "Left: one proposal q for a posterior of two modes, and the distribution that the bound of "
        "k samples is the objective of. Middle: its ELBO lies between the bound and the evidence. "
        "Right: estimated from few sets of proposals (k = 5, four standard errors) its ELBO is too "
        "high, above the evidence even, and no bound.",
    )


def draw_gaps(context: Context, gaps: Mapping[tuple[int, int], Mapping[str, Any]]) -> None:
    """How far each bound is from the evidence, for each trained model."""
    fig, axes = figure(1, 2, width=8.8, height=3.8)
    names = {"elbo": "ELBO of q", "bound": "weighted bound", "implied": "ELBO of implied"}
    for ax, k in zip(axes, sorted({k for _, k in gaps}), strict=True):
        here = {trained: row for (trained, scored), row in gaps.items() if scored == k}
        for number, (name, text) in enumerate(names.items()):
            gap = np.stack([row["evidence"] - row[name] for row in here.values()])
            ax.bar(
                np.arange(len(here)) + 0.26 * (number - 1),
                gap.mean(axis=1),
                0.24,
                yerr=gap.std(axis=1, ddof=1) if gap.shape[1] > 1 else None,
                color=PALETTE[number],
                label=text,
            )
        ax.set_xticks(range(len(here)), [f"k = {trained}" for trained in here])
        ax.set(yscale="log", xlabel="trained with", title=f"scored with k = {k}")
    axes[0].set_ylabel("nats below log p(x)")
    axes[0].legend()
    context.figure(
        "gaps",
        fig,
        "How far each bound falls short of the exact evidence on held-out digits: mean over the "
        "images, mean and standard deviation over the seeds. The more samples a model was trained "
        "with, the worse its q alone, while the posterior that it implies stays close.",
    )


def draw_planes(
    context: Context, trained: int, few: int, many: int, gaps: Mapping[Any, Mapping[str, Any]]
) -> None:
    """One image's posteriors over the latent plane."""
    exact, q, several = gaps[trained, few]["planes"][0]
    panels = {
        "posterior": exact,
        "q": q,
        f"implied, k = {few}": several,
        f"implied, k = {many}": gaps[trained, many]["planes"][0][2],
    }
    fig, axes = figure(1, 4, width=9.6, height=2.9)
    reach = measure.PLANE.reach
    row, column = np.unravel_index(np.argmax(exact), exact.shape)
    at = lambda index: -reach + 2 * reach * index / (measure.PLANE.side - 1)
    for ax, (title, density) in zip(axes, panels.items(), strict=True):
        density_image(ax, density, (-reach, reach, -reach, reach), title=title)
        ax.set(xlim=(at(column) - 1.5, at(column) + 1.5), ylim=(at(row) - 1.5, at(row) + 1.5))
    context.figure(
        "planes",
        fig,
        f"Part of the latent plane for one held-out digit, of a model trained with k = {trained}: "
        "its exact posterior, the encoder's q, and what q becomes by resampling k of its draws.",
    )
