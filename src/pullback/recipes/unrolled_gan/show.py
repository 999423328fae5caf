"""The pictures of the recipe `unrolled-gan`."""

from collections.abc import Mapping

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.unrolled_gan.models import Setting
from pullback.runs import Context

Found = Mapping[str, Mapping[str, np.ndarray]]


def draw_samples(context: Context, found: Found, settings: Mapping[str, Setting]) -> None:
    """Samples of every seed at the end, one row a way."""
    seeds = len(next(iter(found.values()))["samples"])
    fig, axes = figure(len(found), seeds, width=2.4 * seeds, height=2.5 * len(found))
    axes = np.reshape(axes, (len(found), seeds))
    for row, (name, way) in zip(axes, found.items(), strict=True):
        ring = settings[name].ring
        for place, (ax, samples) in enumerate(zip(row, way["samples"], strict=True)):
            ax.plot(*ring.centres.T, "o", color=PALETTE[1], markersize=9, fillstyle="none")
            ax.plot(*samples[:600].T, ".", color=PALETTE[0], markersize=2, alpha=0.4)
            limit = 1.6 * ring.radius
            ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[])
            ax.set_aspect("equal")
            if place == 0:
                ax.set_title(name, fontsize=9)
            ax.set_xlabel(f"{way['modes'][-1, place]:.0f} modes", fontsize=9)
    context.figure(
        "samples",
        fig,
        "Samples (dots) and modes of the data (circles) after the last step; one column a seed.",
    )


def draw_curves(context: Context, found: Found) -> None:
    """What was covered on the way."""
    fig, axes = figure(1, 2, width=9.4, height=3.6)
    for place, (name, way) in enumerate(found.items()):
        for ax, key in zip(axes, ("modes", "kl"), strict=True):
            ax.plot(way["step"], way[key], color=PALETTE[place], linewidth=0.8, alpha=0.5)
            ax.plot(way["step"], np.median(way[key], axis=1), color=PALETTE[place], label=name)
    axes[0].set(xlabel="step", ylabel="modes covered, of 8", ylim=(-0.2, 8.2))
    axes[1].set(xlabel="step", ylabel="KL from even shares, nats", ylim=(0, 2.2))
    axes[0].legend(fontsize=8)
    context.figure(
        "curves",
        fig,
        "Modes that have at least 1 % of the samples, and the divergence of their shares from even "
        "ones; thin lines are seeds, thick ones medians. Log 8 is 2.08.",
    )
