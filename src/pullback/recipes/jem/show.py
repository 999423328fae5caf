"""How the recipe `jem` shows what it measured."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from pullback.analysis import reliability_curve
from pullback.plots import PALETTE, density_image, figure, image_sheet
from pullback.recipes.jem import measure
from pullback.recipes.jem.models import Problem
from pullback.runs import Context

Found = Mapping[str, Mapping[str, Any]]

_COLOURS = {
    "cross-entropy": PALETTE[1], "cross-entropy, higher rate": PALETTE[4], "JEM": PALETTE[0],
}  # fmt: skip


def draw_planes(context: Context, problem: Problem, found: Found) -> None:
    """Densities over the moons, beside the points that the classifier saw."""
    worst = int(np.argmax(found["JEM, in a hurry"]["density_nll"]))
    shown = {
        "cross-entropy alone": ("cross-entropy", 0),
        "JEM": ("JEM", 0),
        "JEM at a high rate, exploded": ("JEM, in a hurry", worst),
    }
    fig, axes = figure(1, len(shown), width=10.4, height=3.7)
    edge = measure.EDGE
    for ax, (title, (name, which)) in zip(axes, shown.items(), strict=True):
        values, rows = found[name]["log_density"][which], problem.labelled[which]
        density = np.exp(values - values.max())
        density_image(ax, density, (-edge, edge, -edge, edge), title=title)
        colours = np.array(PALETTE[3:5])[problem.y[rows]]
        ax.scatter(*problem.x[rows].T, s=9, c=colours, edgecolors="white", linewidths=0.4)
        ax.set_xlabel(f"{found[name]['density_nll'][which]:.3g} nats a test point", fontsize=9)
        ax.set(xlim=(-3, 4), ylim=(-3, 3))
    context.figure(
        "densities",
        fig,
        "What each network takes the density of two moons to be, bright where it is high, on a "
        "scale of its own, and dark throughout where all of it lies outside of the picture; marks "
        "are the labelled points. A classifier's logits say nothing of where the data is, a JEM's "
        "do. Trained at too high a rate it explodes: all of its mass is then in a place where no "
        "data is, and the negative log-likelihood of test points is thousands of nats.",
    )


def draw_reliability(context: Context, part: str, title: str, y: np.ndarray, found: Found) -> None:
    """Accuracy by confidence, of all seeds together."""
    fig, ax = figure(width=5.2, height=4.2)
    ax.plot([0, 1], [0, 1], color="#7b8794", linestyle="--", linewidth=1)
    for name, row in found.items():
        label = f"{name} (ECE {row['ece'].mean():.3f})"
        prob = row["prob"].reshape(-1, row["prob"].shape[2])
        curve = jax.device_get(_curve(prob, np.tile(y, len(row["prob"]))))
        shown = curve.count >= 20
        ax.plot(
            curve.confidence[shown], curve.accuracy[shown], "o-", color=_COLOURS[name], label=label
        )
    ax.set(xlabel="confidence", ylabel="share that is right", title=title, xlim=(0, 1), ylim=(0, 1))
    ax.legend(loc="upper left", fontsize=8)
    context.figure(
        f"reliability-{part}",
        fig,
        "How often the classifiers are right, by how sure they say they are; on the dashed line "
        "confidence is what it claims to be. Above it a classifier is too timid, below it too "
        "sure. ECE is the expected calibration error, the mean distance from the line; bins of "
        "fewer than 20 examples are not drawn.",
    )


@jax.jit
def _curve(prob: Array, y: Array) -> Any:
    return reliability_curve(prob, y, bins=10)


def draw_samples(context: Context, samples: np.ndarray, classes: int) -> None:
    """Samples of each class: of rows of numbers or `[n, colours, height, width]`."""
    if samples.ndim == 2:
        side = round(samples.shape[1] ** 0.5)
        samples = samples.reshape(len(samples), 1, side, side)
    samples = np.moveaxis(samples, 1, -1)
    samples = samples[..., 0] if samples.shape[-1] == 1 else samples
    fig, ax = figure(width=4.4, height=0.42 * classes + 0.6)
    names = [str(label) for label in range(classes)]
    image_sheet(ax, samples.reshape(classes, -1, *samples.shape[1:]), rows=names)
    context.figure(
        "samples",
        fig,
        "Samples of a JEM, a class a row: the ends of chains of 200 cooled steps from uniform "
        "noise, each up the slope of one class's logit, with values beyond the range of the data "
        "cut off.",
    )
