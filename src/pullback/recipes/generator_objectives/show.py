"""The pictures of the recipe `generator-objectives`."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import norm

from pullback.plots import PALETTE, figure
from pullback.recipes.generator_objectives import models
from pullback.runs import Context

Found = Mapping[str, np.ndarray]


def draw_gaussians(context: Context, found: Found, names: list[str]) -> None:
    """The data, and the Gaussian of each objective at the end and on the way."""
    fig, axes = figure(1, 2, width=9.8, height=3.8)
    x = np.linspace(-5, 5, 500)
    of = lambda mean, deviation: norm.pdf(x, mean, deviation)
    both = (of(-models.CENTRE, models.DEVIATION) + of(models.CENTRE, models.DEVIATION)) / 2
    axes[0].fill_between(x, both, color="#d5dbe1", label="data")
    for place, name in enumerate(names):
        mean, deviation = found["mean"][place], found["deviation"][place]
        style = {"color": PALETTE[place % len(PALETTE)], "linestyle": ("-", "--")[place % 2]}
        axes[0].plot(x, of(mean[-1], max(deviation[-1], 1e-3)), label=name, **style)
        axes[1].plot(mean, deviation, **style)
        axes[1].plot(mean[-1], deviation[-1], "o", color=style["color"])
    axes[0].set(xlabel="x", ylabel="density", ylim=(0, 1.1))
    axes[0].legend(fontsize=8)
    axes[1].set(xlabel="mean", ylabel="standard deviation", ylim=(0, None))
    context.figure(
        "gaussians",
        fig,
        "A Gaussian fitted to two modes by each loss, with the exact ratio of densities frozen as "
        "a discriminator's is. Left: where it ends (a dot on the right); right: its way there.",
    )


def draw_samples(context: Context, found: Mapping[str, Found]) -> None:
    """Samples by a learned discriminator, one column an objective."""
    seeds = len(next(iter(found.values()))["samples"])
    fig, axes = figure(seeds, len(found), width=2.4 * len(found), height=2.5 * seeds)
    axes = np.reshape(axes, (seeds, len(found)))
    limit = 1.6 * models.RADIUS
    for column, (name, way) in zip(axes.T, found.items(), strict=True):
        for place, (ax, samples) in enumerate(zip(column, way["samples"], strict=True)):
            ax.plot(*models.centres().T, "o", color=PALETTE[1], markersize=9, fillstyle="none")
            ax.plot(*samples[:600].T, ".", color=PALETTE[0], markersize=2, alpha=0.4)
            ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[])
            ax.set_aspect("equal")
            ax.set_xlabel(f"{way['modes'][place]:.0f} modes", fontsize=9)
            if place == 0:
                ax.set_title(name, fontsize=9)
    context.figure(
        "samples",
        fig,
        "Samples (dots) of generators trained beside a logistic discriminator that learns, and "
        "modes of the data (circles); one row a seed.",
    )
