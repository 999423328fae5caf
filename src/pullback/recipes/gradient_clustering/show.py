"""The pictures of the recipe `gradient-clustering`."""

from collections.abc import Mapping

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.gradient_clustering.models import Kind
from pullback.runs import Context

Found = Mapping[str, Mapping[str, np.ndarray]]
_ESTIMATORS = {
    "uniform": "SGD",
    "double": "SGD, twice the batch",
    "fresh": "clusters, fresh",
    "stale": "clusters of the snapshot before",
    "svrg": "SVRG, snapshot before",
}


def draw_variances(context: Context, found: Found, kinds: Mapping[str, Kind], source: str) -> None:
    """The variance of every estimator along one training of each kind."""
    shown = ("plain", "duplicates", "wrong")
    fig, axes = figure(1, 3, width=10.5, height=3.6)
    for ax, kind in zip(axes, shown, strict=True):
        row = found[kind]
        for place, (name, label) in enumerate(_ESTIMATORS.items()):
            colour = PALETTE[place % len(PALETTE)]
            ax.plot(row["step"][0], row[name].T, color=colour, alpha=0.25, linewidth=0.8)
            middle = np.exp(np.log(row[name]).mean(axis=0))
            ax.plot(row["step"][0], middle, "o-", color=colour, markersize=3, label=label)
        ax.set(yscale="log", xlabel="step", title=kinds[kind].title)
    axes[0].set_ylabel("variance of a batch's gradient")
    axes[0].legend(fontsize=7)
    context.figure(
        "variances",
        fig,
        f"Variance of a batch's gradient while a network is trained on {source} by plain SGD: all "
        "estimators at the same weights. Thin lines are seeds, thick ones their geometric means.",
    )


def draw_course(context: Context, found: Found, kinds: Mapping[str, Kind], source: str) -> None:
    """The loss, the variance and the noise over the signal of SGD, of each kind."""
    parts = {
        "loss": "loss", "uniform": "variance of a batch's gradient",
        "normalised": "noise over signal",
    }  # fmt: skip
    fig, axes = figure(1, 3, width=10.5, height=3.6)
    for ax, (name, label) in zip(axes, parts.items(), strict=True):
        for place, (kind, row) in enumerate(found.items()):
            middle = np.exp(np.log(row[name]).mean(axis=0))
            ax.plot(
                row["step"][0], middle, "o-", color=PALETTE[place], markersize=3,
                label=kinds[kind].title,
            )  # fmt: skip
        ax.set(yscale="log", xlabel="step", ylabel=label)
    axes[0].legend(fontsize=7)
    context.figure(
        "course",
        fig,
        f"Training on {source}: the loss, the variance of a batch of SGD, and its noise over its "
        "signal, which follows convergence where the variance itself falls. Geometric means over "
        "seeds.",
    )
