"""How the recipe `lsd` shows what it measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.plots import PALETTE, density_image, figure
from pullback.recipes.lsd.measure import SEPARATIONS, TESTS, WEIGHTS
from pullback.runs import Context

METHODS = ("maximum likelihood", "score matching", "LSD")


def draw_ica(context: Context, found: Mapping[str, np.ndarray]) -> None:
    """The discrepancy as the game goes on, and the likelihood at its end."""
    fig, (left, right) = figure(1, 2, width=9.6, height=3.6)
    curve = np.maximum(found["discrepancy"].T, 1e-3)
    for row in curve:
        left.plot(found["steps"], row, color=PALETTE[0], linewidth=1)
    left.set(yscale="log", xlabel="step of the model", title="what the critic still finds")
    left.set_ylabel("learned discrepancy")
    truth = float(found["truth nll"][0])
    for place, name in enumerate(METHODS):
        gap = found[f"nll of {name}"] - truth
        right.plot(np.full(len(gap), place), gap, "o", color=PALETTE[place], alpha=0.7)
        right.hlines(gap.mean(), place - 0.25, place + 0.25, color=PALETTE[place])
    right.set_xticks(range(len(METHODS)), METHODS)
    right.set(ylabel="nats a row behind the truth", title="unseen rows", ylim=(0, None))
    right.grid(axis="x", visible=False)
    start = found["nll of start"] - truth
    context.figure(
        "ica",
        fig,
        "Unmixing of independent sources. Left: the learned discrepancy in training, a line a "
        "seed; it rises where the critic learns faster than the model. Right: how far each way to "
        "train ends behind the model that drew the rows, a mark a seed and bars the means; all "
        f"start {start.min():.1f} to {start.max():.1f} nats behind. Only maximum likelihood needs "
        "the normaliser, and only score matching the Hessian's trace with its slope. All take as "
        "many steps, which are too few to get to the truth from so far.",
    )


def draw_plane(context: Context, found: Mapping[str, Any], points: np.ndarray) -> None:
    """Data, and the density that was learned without samples and without a normaliser."""
    fig, axes = figure(1, 3, width=9.6, height=3.4)
    reach = float(found["extent"]) * 0.7
    extent = (-found["extent"], found["extent"], -found["extent"], found["extent"])
    best = int(np.argmin(found["nll"]))
    axes[0].plot(*points.T, "o", markersize=1.5, color=PALETTE[0], alpha=0.4)
    axes[0].set(title="data", xticks=[], yticks=[])
    axes[0].set_aspect("equal")
    density = np.exp(found["log density"][best])
    density_image(axes[1], density, extent, title="density by LSD")
    for ax in axes[:2]:
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    for row in np.maximum(found["discrepancy"].T, 1e-3):
        axes[2].plot(found["steps"], row, color=PALETTE[0], linewidth=1)
    axes[2].set(yscale="log", xlabel="step of the model", ylabel="learned discrepancy")
    axes[2].set(title="what the critic still finds")
    context.figure(
        "plane",
        fig,
        "An energy-based model of two moons, trained by its score alone; its density is summed on "
        "a grid afterwards. Of the seeds the one of the best likelihood is shown: "
        f"{found['nll'][best]:.3f} nats a point on unseen points, where the Gaussian of the data "
        f"has {found['gaussian'][best]:.3f}.",
    )


def draw_power(
    context: Context, counts: tuple[int, ...], columns: int, laplace: np.ndarray,
    machine: np.ndarray, perturbation: float,
) -> None:  # fmt: skip
    """How often each test rejects a model that is wrong, and one that is right."""
    fig, (left, right) = figure(1, 2, width=9.6, height=3.8, sharey=True)
    sets = laplace.shape[2]
    for place, name in enumerate(TESTS):
        rate = (laplace[place] <= 0.05).mean(axis=1)
        error = np.sqrt(rate * (1 - rate) / sets)
        moved = np.asarray(counts) + 0.12 * (place - 1)
        left.errorbar(moved, rate, error, marker="o", color=PALETTE[place], label=name, capsize=2)
        power = (machine[place] <= 0.05).mean()
        spread = np.sqrt(power * (1 - power) / machine.shape[1])
        right.bar(place, power, color=PALETTE[place], alpha=0.7, yerr=spread, capsize=4, width=0.6)
    left.axhline(0.05, color="black", linestyle=":", linewidth=1, label="level 0.05")
    right.axhline(0.05, color="black", linestyle=":", linewidth=1)
    left.set(xlabel=f"columns of {columns} that are Laplace", ylabel="share of tests that reject")
    left.set(title="columns with heavy tails", ylim=(-0.03, 1.05))
    left.set_xticks(counts)
    left.legend(fontsize=8, loc="upper left")
    right.set_xticks(range(len(TESTS)), [name.replace(" (", "\n(") for name in TESTS])
    right.set(title=f"a machine whose weights are off by {perturbation:g}")
    right.grid(axis="x", visible=False)
    context.figure(
        "power",
        fig,
        "How often three tests at level 0.05 reject a wrong model, by the score alone. Left: a "
        "standard Gaussian as the model of data of which some columns are Laplace, of the same "
        "mean and variance; with none of them the model is right, and what is rejected is false "
        "alarm. Right: a Boltzmann machine whose weights have a little noise. All get the same "
        f"data sets ({sets} for each mark on the left, {machine.shape[1]} on the right; bars are "
        "standard errors). A learned critic finds what is far from the kernel's shape, and pays "
        "for it by testing on a tenth of the data.",
    )


def draw_ranking(context: Context, found: Mapping[str, np.ndarray]) -> None:
    """The learned discrepancy beside the exact one, and beside the likelihood."""
    fig, (left, right) = figure(1, 2, width=9.6, height=3.8, sharey=True)
    floor = 3e-3
    learned = np.maximum(found["learned"], floor)
    for ax, name in ((left, "exact"), (right, "nats")):
        for seed, colour in zip(range(len(learned)), PALETTE, strict=False):
            ax.errorbar(
                np.maximum(found[name][seed], floor), learned[seed], found["error"][seed],
                fmt="o-", linewidth=0.8, color=colour, label=f"seed {seed}",
            )  # fmt: skip
        ax.set(xscale="log", yscale="log")
    ends = [floor, float(found["exact"].max()) * 2]
    left.plot(ends, ends, color="black", linestyle=":", linewidth=1, label="equal")
    left.set(xlabel="exact discrepancy", ylabel="learned discrepancy", title="against the truth")
    right.set(xlabel="nats behind the truth", title="against the likelihood")
    left.legend(fontsize=8)
    context.figure(
        "ranking",
        fig,
        "Models of the sources, each farther from the truth, ranked without their normalisers. "
        "Left: the learned discrepancy and the one at the best critic, half the mean squared gap "
        "of scores. Right: beside the likelihood, which asks for normalisers. Values below "
        f"{floor:g} are drawn there; bars are standard errors.",
    )


def draw_blindness(context: Context, found: Mapping[str, np.ndarray]) -> None:
    """What scores do not see."""
    fig, (left, right) = figure(1, 2, width=9.6, height=3.4)
    left.plot(SEPARATIONS, found["nats"], "o-", color=PALETTE[1], label="divergence (nats)")
    left.plot(SEPARATIONS, found["fisher"], "s-", color=PALETTE[0], label="exact discrepancy")
    left.set(xlabel="distance between the modes", title="what is wrong, and what scores tell")
    left.legend(fontsize=8)
    rate = (found["p"] <= 0.05).mean(axis=1)
    error = np.sqrt(rate * (1 - rate) / found["p"].shape[1])
    right.errorbar(SEPARATIONS, rate, error, marker="s", color=PALETTE[0], capsize=3)
    right.axhline(0.05, color="black", linestyle=":", linewidth=1)
    right.annotate("level 0.05", (SEPARATIONS[0], 0.07), fontsize=8)
    right.set(xlabel="distance between the modes", ylim=(-0.03, 1.05))
    right.set(ylabel="share of tests that reject", title="the learned test")
    context.figure(
        "blindness",
        fig,
        f"When not to. Two modes that hold {WEIGHTS[0]:g} and {1 - WEIGHTS[0]:g} of the data, and "
        f"{WEIGHTS[1]:g} and {1 - WEIGHTS[1]:.1g} of the model's mass. As they move apart the "
        "model becomes worse, and its score right nearly everywhere where data are: every test by "
        "the score is blind to it, and training by it leaves such weights as they are.",
    )


def draw_table(context: Context, names: list[str], found: Mapping[str, Any]) -> None:
    """Which columns the critic points at, for each model."""
    shares = {name: np.asarray(row["share"]) for name, row in found.items()}
    fig, ax = figure(width=9.0, height=0.9 + 0.42 * len(names))
    places = np.arange(len(names))
    for number, (name, share) in enumerate(shares.items()):
        offset = (number - (len(shares) - 1) / 2) * 0.8 / len(shares)
        ax.barh(places + offset, share, 0.8 / len(shares), label=name, color=PALETTE[number])
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set(xlabel="share of the mismatch", title="where the models do not fit")
    ax.grid(axis="y", visible=False)
    ax.legend(fontsize=8)
    context.figure(
        "columns",
        fig,
        "The columns in which each model differs from the data: the part of each in the critic's "
        "mean squared gap of scores, in standardised units. Of a model that is not rejected it is "
        "noise.",
    )
