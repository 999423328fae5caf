"""The pictures of the recipe `iwae-posterior`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, density_image, figure
from pullback.recipes.iwae_posterior import measure
from pullback.runs import Context


def draw_one_dimension(context: Context, found: Mapping[str, Any]) -> None:
    """The implied posterior for each k, and the bounds."""
    fig, axes = figure(1, 2, width=8.8, height=3.6)
    axes[0].fill_between(
        measure.AXIS, found["exact"], color="#7b8794", alpha=0.3, linewidth=0, label="posterior"
    )
    for k, density in zip(found["k"], found["density"], strict=True):
        axes[0].plot(measure.AXIS, density, label="q" if k == 1 else f"implied, k = {k}")
    axes[0].set(xlim=(-5, 5), xlabel="z", ylabel="density")
    axes[0].legend(fontsize=8)
    axes[1].axhline(measure.LOG_EVIDENCE, color="#7b8794", linestyle="--", label="log p(x)")
    axes[1].plot(found["k"], found["elbo"], marker="o", label="ELBO of the implied posterior")
    axes[1].plot(found["k"], found["bound"], marker="s", label="importance-weighted bound")
    axes[1].set(xscale="log", xlabel="samples, k", ylabel="nats")
    axes[1].set_xticks(found["k"], [str(k) for k in found["k"]])
    axes[1].minorticks_off()
    axes[1].legend(loc="lower right")
    context.figure(
        "one-dimension",
        fig,
        "Left: one proposal q for a posterior of two modes, and the distribution that the bound of "
        "k samples is the objective of. Right: its ELBO lies between the bound and the evidence.",
    )


def draw_gaps(context: Context, rows: Sequence[Mapping[str, Any]]) -> None:
    """How far each bound is from the evidence, for each trained model."""
    fig, axes = figure(1, 2, width=8.8, height=3.8)
    names = {"elbo": "ELBO of q", "bound": "weighted bound", "implied": "ELBO of implied"}
    for ax, k in zip(axes, sorted({row["k"] for row in rows}), strict=True):
        here = [row for row in rows if row["k"] == k]
        for number, (name, text) in enumerate(names.items()):
            gap = [np.asarray(row["evidence"]) - np.asarray(row[name]) for row in here]
            ax.bar(
                np.arange(len(here)) + 0.26 * (number - 1),
                [g.mean() for g in gap],
                0.24,
                yerr=[g.std(ddof=1) if len(g) > 1 else 0 for g in gap],
                color=PALETTE[number],
                label=text,
            )
        ax.set_xticks(range(len(here)), [f"k = {row['trained']}" for row in here])
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


def draw_planes(context: Context, found: Mapping[str, np.ndarray]) -> None:
    """One image's posteriors over the latent plane, with what their draws decode to."""
    panels = {"exact": "posterior", "q": "q", "k5": "implied, k = 5", "k50": "implied, k = 50"}
    fig, axes = figure(1, 4, width=9.6, height=2.9)
    reach = measure.REACH
    row, column = np.unravel_index(np.argmax(found["density_exact"]), found["density_exact"].shape)
    place = lambda index: -reach + 2 * reach * index / (measure.POINTS - 1)
    for ax, (name, title) in zip(axes, panels.items(), strict=True):
        density_image(ax, found[f"density_{name}"], (-reach, reach, -reach, reach))
        ax.set(
            title=title,
            xlim=(place(column) - 1.5, place(column) + 1.5),
            ylim=(place(row) - 1.5, place(row) + 1.5),
        )
    context.figure(
        "planes",
        fig,
        "Part of the latent plane for one held-out digit, of the model trained with k = 50: its "
        "exact posterior, the encoder's q, and what q becomes by resampling k of its draws.",
    )


def draw_decoded(context: Context, image: np.ndarray, found: Mapping[str, np.ndarray]) -> None:
    """What draws of q and of the implied posterior decode to."""
    side = int(np.sqrt(image.size))
    rows = {"q": "q", "k50": "implied, k = 50"}
    fig, axes = figure(2, 7, width=8.4, height=2.9)
    for line, (name, title) in zip(axes, rows.items(), strict=True):
        pictures = [image, *found[f"decoded_{name}"]]
        for number, (ax, picture) in enumerate(zip(line, pictures, strict=True)):
            ax.imshow(picture.reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(False)
            if number == 0:
                ax.set_ylabel(title, fontsize=8)
                ax.set_title("image" if name == "q" else "", fontsize=9)
    context.figure(
        "decoded",
        fig,
        "A held-out digit (left), and six draws decoded by the model trained with k = 50: from the "
        "encoder's q (above) and from the implied posterior (below). Draws of q alone are not what "
        "the model was trained for.",
    )


def draw_few_sets(
    context: Context, counts: Sequence[int], found: Mapping[str, Any], exact: float
) -> None:
    """The bias of an estimated density's log."""
    fig, ax = figure(width=6.0, height=3.6)
    ax.errorbar(
        counts,
        found["value"],
        yerr=[4 * e for e in found["error"]],
        marker="o",
        capsize=3,
        label="estimate, with 4 standard errors",
    )
    ax.axhline(exact, color=PALETTE[1], label="ELBO of the implied posterior, on a grid")
    ax.axhline(measure.LOG_EVIDENCE, color="#7b8794", linestyle="--", label="log p(x)")
    ax.set(xscale="log", xlabel="sets of proposals for each density", ylabel="nats")
    ax.legend()
    context.figure(
        "few-sets",
        fig,
        "When not to trust it: the log of an estimated density is biased low, so the ELBO that it "
        "gives is biased high. From few sets it is above the evidence, and no bound.",
    )
