"""How the recipe `jem` shows what it measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, density_image, figure, image_sheet, line_with_spread
from pullback.recipes.jem import measure
from pullback.recipes.jem.models import Problem
from pullback.runs import Context

Found = Mapping[str, Mapping[str, Any]]

_COLOURS = {
    "cross-entropy": PALETTE[1], "JEM": PALETTE[0],
    "cross-entropy, higher rate": PALETTE[4],
    "no guard": PALETTE[1], "guard": PALETTE[0], "penalty": PALETTE[2],
}  # fmt: skip

_TITLES = {
    "no guard": "at a high rate",
    "guard": "at a high rate, guarded",
    "penalty": "at a high rate, penalised",
}


def draw_planes(context: Context, problem: Problem, planes: Found, worst: int) -> None:
    """Densities over the moons, beside the points that the classifier saw."""
    titles = {
        "cross-entropy": "cross-entropy alone",
        "JEM": "JEM",
        "no guard": "JEM at a high rate, exploded",
    }
    fig, axes = figure(1, len(titles), width=10.4, height=3.7)
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        row = planes[name]
        which = worst if name == "no guard" else 0
        edge = float(row["edge"])
        shown = np.exp(row["log_density"][which] - row["log_density"][which].max())
        density_image(ax, shown, (-edge, edge, -edge, edge), title=title)
        axis = np.linspace(-edge, edge, row["share"].shape[1])
        ax.contour(axis, axis, row["share"][which], levels=[0.5], colors="white", linewidths=1)
        rows = problem.labelled[which]
        for label, marker in ((0, "o"), (1, "^")):
            of = rows[problem.y[rows] == label]
            ax.plot(
                *problem.x[of].T, marker, color=PALETTE[3 + label], markersize=3,
                markeredgecolor="white", markeredgewidth=0.4, linestyle="none",
            )  # fmt: skip
        ax.set_xlabel(f"{row['nll'][which]:.3g} nats a test point", fontsize=9)
        ax.set(xlim=(-3, 4), ylim=(-3, 3))
    context.figure(
        "densities",
        fig,
        "What each network takes the density of two moons to be, bright where it is high, on a "
        "scale of its own, and dark throughout where all of it lies outside of the picture; marks "
        "are the labelled points, the white line is where both classes are equally likely. A "
        "classifier's logits say nothing of where the data is. A JEM's do. "
        "Trained at too high a rate it explodes: all of its mass is then in a place where no data "
        "is, and the negative log-likelihood of test points is thousands of nats.",
    )


def draw_reliability(context: Context, parts: Mapping[str, Found]) -> None:
    """Accuracy by confidence."""
    fig, axes = figure(1, len(parts), width=4.6 * len(parts), height=4.0, sharey=True)
    for ax, (title, found) in zip(np.atleast_1d(axes), parts.items(), strict=True):
        ax.plot([0, 1], [0, 1], color="#7b8794", linestyle="--", linewidth=1)
        for name, row in found.items():
            label = f"{name} (ECE {row['ece'].mean():.3f})"
            ax.plot(*measure.pooled_curve(row), "o-", color=_COLOURS[name], label=label)
        ax.set(xlabel="confidence", title=title, xlim=(0, 1), ylim=(0, 1))
        ax.legend(loc="upper left", fontsize=8)
    np.atleast_1d(axes)[0].set_ylabel("share that is right")
    context.figure(
        "reliability",
        fig,
        "How often the classifiers are right, by how sure they say they are; on the dashed line "
        "confidence is what it claims to be. Above it a classifier is too timid, below it too "
        "sure. ECE is the expected calibration error, the mean distance from the line; bins of "
        "fewer than 20 examples are not drawn. A density helps where labels overlap and are few; "
        "a short training as a density makes a classifier timid that was calibrated as it was.",
    )


def draw_gaps(context: Context, curves: Found) -> None:
    """The energy gap in training, and where it ends."""
    fig, axes = figure(1, len(curves), width=3.3 * len(curves), height=3.3, sharey=True)
    for ax, (name, row) in zip(np.atleast_1d(axes), curves.items(), strict=True):
        for number, gap in enumerate(row["gap"]):
            ax.plot(row["steps"], gap, color=PALETTE[number % len(PALETTE)], linewidth=1)
        count = int(np.sum(row["rollbacks"]))
        note = f"\nrolled back {count} times" if name == "guard" else "\n"
        ax.set_title(_TITLES.get(name, name) + note, fontsize=10)
        ax.set_xlabel("training step")
        ax.axhline(0, color="#7b8794", linestyle="--", linewidth=1)
        ax.set_yscale("symlog", linthresh=1)
    np.atleast_1d(axes)[0].set_ylabel("LSE(data) - LSE(chains), nats")
    context.figure(
        "gaps",
        fig,
        "What to watch in training: the gap between the log-density of the data and that of the "
        "chains' ends, a line a seed. It hovers about 0 while all is well, and leaves it by orders "
        "of magnitude in an explosion, in which no number is infinite. A guard sends the run back "
        "to its last snapshot, model and chains together.",
    )


def draw_attacks(context: Context, attacks: Found, refined: Mapping[str, Any]) -> None:
    """Accuracy under attack."""
    fig, (left, right) = figure(1, 2, width=9.6, height=3.9, sharey=True)
    for name, row in attacks.items():
        line_with_spread(
            left, measure.RADII, 100 * row["accuracy"], label=name, colour=_COLOURS[name]
        )
    labels = {
        "plain": ("JEM as it is", PALETTE[0]),
        "seen": ("after 10 steps of the sampler", PALETTE[2]),
        "blind": ("the same, attack blind to them", PALETTE[3]),
    }
    for name, (label, colour) in labels.items():
        line_with_spread(
            right, measure.REFINED_RADII, 100 * refined[name], label=label, colour=colour
        )
    left.set(xlabel="radius of the attack", ylabel="accuracy (%)", title="as they are")
    right.set(xlabel="radius of the attack", title="cleaned by the sampler first")
    for ax in (left, right):
        ax.legend(fontsize=8)
        ax.set_ylim(0, 100)
    context.figure(
        "attacks",
        fig,
        "Accuracy on images that were moved on purpose, by projected gradients, within a Euclidean "
        "distance; pixels lie in [-1, 1]. Bands are one standard deviation over seeds. Right: "
        "logits that are taken after a few steps of the sampler, attacked by gradients through "
        "those steps, and by gradients that are blind to them, as in the published evaluation.",
    )


def draw_scores(context: Context, scores: Found) -> None:
    """Histograms of log-densities, of the test set and of OOD sets."""
    fig, axes = figure(2, 1, width=7.6, height=5.0)
    for ax, (name, row) in zip(axes, scores.items(), strict=True):
        values = row["log_density"][0]
        low, high = np.quantile(values, (0.005, 0.995))
        bins = np.linspace(low, high, 60)
        for number, (label, one) in enumerate(zip(row["sets"], values, strict=True)):
            colour = "black" if number == 0 else PALETTE[number - 1]
            ax.hist(
                np.clip(one, low, high), bins, density=True, histtype="step", color=colour,
                linewidth=1.8 if number == 0 else 1.2, label=label,
            )  # fmt: skip
        ax.set(title=name, yticks=[], xlabel="LSE(x), the unnormalised log-density (nats)")
    axes[0].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    context.figure(
        "scores",
        fig,
        "Log-densities that one network of each kind gives to test images (black) and to images of "
        "other kinds. Trained by cross-entropy alone, a network gives the most to images of more "
        "contrast; a JEM gives it to test images, and still to the mean of two of them.",
    )


def draw_samples(
    context: Context, data: np.ndarray, samples: np.ndarray, side: int, names: Sequence[str]
) -> None:
    """Data and samples of each class, side by side."""
    shape = lambda x: x.reshape(len(data), -1, side, side)
    fig, axes = figure(1, 2, width=8.0, height=0.42 * len(data) + 0.6)
    image_sheet(axes[0], shape(data), rows=names, title="data")
    image_sheet(axes[1], shape(samples), rows=names, title="samples of the JEM")
    context.figure(
        "samples",
        fig,
        "Left: images of the data, a class a row. Right: the ends of chains of 200 cooled steps "
        "from uniform noise, each up the slope of one class's logit, with values beyond the range "
        "of the data cut off.",
    )
