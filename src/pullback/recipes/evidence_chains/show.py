"""The pictures of the recipe `evidence-chains`."""

from collections.abc import Mapping, Sequence

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.evidence_chains.models import Config
from pullback.runs import Context

Found = Mapping[str, Mapping[str, np.ndarray]]


def draw(context: Context, config: Config, found: Found, others: Found) -> None:
    """Errors while training, and of newcomers by what is known of them."""
    fig, axes = figure(1, 2, width=9.4, height=3.8)
    colours = _colours([*found, *others])
    for name, row in found.items():
        axes[0].plot(row["step"][0], row["curve"].mean(axis=0), color=colours[name], label=name)
    axes[0].set(xlabel="training steps", ylabel="error of held-out ratings", ylim=(0, None))
    axes[0].axhline(config.noise, color="grey", linewidth=0.8)
    axes[0].legend(fontsize=8)
    first, _, _, ridge, whole = found
    shown = {**others, **{name: found[name] for name in (first, ridge, whole)}}
    draw_newcomers(axes[1], config.shown, shown, colours)
    axes[1].set(ylim=(0, None))
    axes[1].axhline(config.noise, color="grey", linewidth=0.8)
    context.figure(
        "errors",
        fig,
        "Left: the error of held-out ratings of trained users while training. Right: the error of "
        "newcomers by the number of their ratings that are known. Means over the seeds; the grey "
        "line is the noise.",
    )


def draw_newcomers(
    ax, shown: Sequence[int], rows: Found, colours: Mapping[str, str] | None = None
) -> None:
    """The error of newcomers by the number of known ratings, of each recommender."""
    colours = _colours(list(rows)) if colours is None else colours
    for name, row in rows.items():
        ax.plot(
            range(len(shown)), row["new"].mean(axis=0), marker="o", markersize=4, label=name,
            color=colours[name], linestyle="-" if "chains" in name else "--",
        )  # fmt: skip
    ax.set_xticks(range(len(shown)), map(str, shown))
    ax.set(xlabel="known ratings of a newcomer", ylabel="error of newcomers")
    ax.legend(fontsize=8)


def _colours(names: Sequence[str]) -> dict[str, str]:
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}
