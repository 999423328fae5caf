"""The pictures and the table of the recipe `fit`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.fit import models
from pullback.recipes.fit.measure import FIT, UNIFORM, WAYS
from pullback.runs import Context

_TRUTHS = ("at switches", "at every step")


def draw_series(context: Context, shown: Mapping[str, np.ndarray]) -> None:
    """One series, and how much each of its cells counts."""
    fit, learned, uniform = shown[FIT], shown["learned"], shown[UNIFORM]
    heats = {"FIT, exact": fit, "FIT, learned": learned, UNIFORM: uniform}
    fig, axes = figure(1 + len(heats), 1, width=8.6, height=6.4, sharex=True)
    steps, features = shown["x"].shape
    for feature in range(features):
        axes[0].plot(shown["x"][:, feature], color=PALETTE[feature], label=f"feature {feature}")
    for t in np.flatnonzero(shown["state"]):
        axes[0].axvspan(t - 0.5, t + 0.5, color="#e4e7eb", alpha=0.6, linewidth=0)
    axes[0].set(ylabel="value", xlim=(-0.5, steps - 0.5))
    axes[0].legend(fontsize=8, ncols=features, loc="upper right")
    when, which = np.nonzero(shown["at_switches"])
    for ax, (name, score) in zip(axes[1:], heats.items(), strict=True):
        heat(ax, score, name, [f"feature {feature}" for feature in range(features)])
        ax.plot(when, which, "s", markersize=7, markerfacecolor="none", color="black")
    axes[-1].set_xlabel("step")
    context.figure(
        "series",
        fig,
        "One series (grey: state 1) and the scores of its cells, red above and blue below 0, each "
        "map on its own scale. Squares mark the cells that moved the label's law: the feature that "
        "counts in the new state, at the step at which the state changed.",
    )


def heat(ax: Any, score: np.ndarray, title: str, names: Sequence[str]) -> None:
    """Scores of one series by time and feature, on a scale of their own."""
    top = np.nanquantile(np.abs(score), 0.995)
    scale = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    ax.imshow(score.T, aspect="auto", interpolation="nearest", **scale)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set_title(title, fontsize=9)
    ax.grid(visible=False)


def draw_areas(context: Context, rows: Sequence[Mapping[str, Any]]) -> None:
    """Areas under precision and recall by method and truth."""
    fig, axes = figure(1, 2, width=9.4, height=3.6, sharey=True)
    for truth, ax in enumerate(axes):
        for place, name in enumerate(("exact", "learned")):
            ways = list(rows[0]["areas"][name])
            values = np.array([[row["areas"][name][way][truth, 0] for way in ways] for row in rows])
            at = np.array([WAYS.index(way) for way in ways]) + 0.4 * (place - 0.5)
            ax.barh(at, values.mean(axis=0), height=0.36, color=PALETTE[place], label=name)
            ax.plot(values.T, at, ".", color="black", markersize=3)
        base = np.mean([row["base"][truth] for row in rows])
        ax.axvline(base, color="black", linestyle="--", linewidth=1, label="chance")
        ax.set(title=_TRUTHS[truth], xlabel="area under precision and recall")
    axes[0].set_yticks(range(len(WAYS)), WAYS)
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8)
    context.figure(
        "areas",
        fig,
        "How well the scores find the cells that moved the label's law (left), and those that it "
        "uses (right): exact predictor and generator, and learned ones; dots are seeds.",
    )


def tell_areas(context: Context, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same as a table, with the areas under the ROC."""
    loss = np.mean([row["loss"] for row in rows], axis=0)
    base = np.mean([row["base"] for row in rows], axis=0)
    header = [f"{kind}, {truth}" for truth in _TRUTHS for kind in ("AUPRC", "AUROC")]
    context.table(
        "areas",
        ["method", "of", *header],
        [
            [
                way,
                name,
                *np.mean([row["areas"][name][way] for row in rows], axis=0).ravel().tolist(),
            ]
            for name, ways in rows[0]["areas"].items()
            for way in ways
        ],
        f"Means over {len(rows)} seeds. By chance the AUPRC is {base[0]:.3f} and {base[1]:.3f}. "
        f"Cross entropy of the label, of the exact filter and of the network: {loss[0]:.4f} and "
        f"{loss[1]:.4f} nats. The authors' code takes the mean of the divergences, and the "
        "prediction of the step before in place of the marginal. Of series with spikes, "
        f"of height {models.HEIGHT:g} so that a threshold tells them exactly, the label turns with "
        f"the first of feature 0, or {models.LATE} steps later (late spikes); that cell is the one "
        "to find.",
    )
