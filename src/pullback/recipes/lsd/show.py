"""How the recipe `lsd` shows what it measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.plots import PALETTE, density_image, figure
from pullback.recipes.lsd.measure import COLUMNS, LAPLACE, NOISE, TESTS
from pullback.recipes.lsd.models import EXTENT
from pullback.runs import Context

METHODS = ("maximum likelihood", "score matching", "LSD")


def draw_ica(context: Context, nats: Mapping[str, np.ndarray]) -> None:
    """The likelihood at the end of training."""
    fig, ax = figure(width=6.4, height=3.6)
    gap = {name: row - nats["truth"] for name, row in nats.items()}
    for place, name in enumerate(METHODS):
        ax.plot(np.full(len(gap[name]), place), gap[name], "o", color=PALETTE[place], alpha=0.7)
        ax.hlines(gap[name].mean(), place - 0.25, place + 0.25, color=PALETTE[place])
    ax.set_xticks(range(len(METHODS)), METHODS)
    ax.set(ylabel="nats a row behind the truth", title="unseen rows", ylim=(0, None))
    ax.grid(axis="x", visible=False)
    context.figure(
        "ica",
        fig,
        "Unmixing of independent sources: how far each way to train ends behind the model that "
        "drew the rows, a mark a seed and bars the means; all start "
        f"{gap['start'].min():.1f} to {gap['start'].max():.1f} nats behind. Only maximum "
        "likelihood needs the normaliser, and only score matching the Hessian's trace with its "
        "slope. All take as many steps, which are too few to get to the truth from so far.",
    )


def draw_plane(context: Context, found: Mapping[str, Any]) -> None:
    """Data, and the density that was learned without samples and without a normaliser."""
    fig, (left, right) = figure(1, 2, width=7.0, height=3.6)
    best = int(np.argmin(found["nats"]))
    left.plot(*found["test"][:2000].T, "o", markersize=1.5, color=PALETTE[0], alpha=0.4)
    left.set(title="data", xticks=[], yticks=[])
    left.set_aspect("equal")
    density = np.exp(found["log_density"][best])
    density_image(right, density, (-EXTENT, EXTENT, -EXTENT, EXTENT), title="density by LSD")
    for ax in (left, right):
        ax.set(xlim=(-2.8, 2.8), ylim=(-2.8, 2.8))
    context.figure(
        "plane",
        fig,
        "An energy-based model of two moons, trained by its score alone; its density is summed on "
        "a grid afterwards. Of the seeds the one of the best likelihood is shown: "
        f"{found['nats'][best]:.3f} nats a point on unseen points, where the Gaussian of the data "
        f"has {found['gaussian'][best]:.3f}.",
    )


def draw_power(context: Context, laplace: np.ndarray, machine: np.ndarray) -> None:
    """How often each test rejects a model that is wrong, and one that is right."""
    fig, (left, right) = figure(1, 2, width=9.6, height=3.8, sharey=True)
    sets = laplace.shape[2]
    for place, name in enumerate(TESTS):
        rate = (laplace[place] <= 0.05).mean(axis=1)
        error = np.sqrt(rate * (1 - rate) / sets)
        moved = np.asarray(LAPLACE) + 0.12 * (place - 1)
        left.errorbar(moved, rate, error, marker="o", color=PALETTE[place], label=name, capsize=2)
        power = (machine[place] <= 0.05).mean()
        spread = np.sqrt(power * (1 - power) / machine.shape[1])
        right.bar(place, power, color=PALETTE[place], alpha=0.7, yerr=spread, capsize=4, width=0.6)
    left.axhline(0.05, color="black", linestyle=":", linewidth=1, label="level 0.05")
    right.axhline(0.05, color="black", linestyle=":", linewidth=1)
    left.set(xlabel=f"columns of {COLUMNS} that are Laplace", ylabel="share of tests that reject")
    left.set(title="columns with heavy tails", ylim=(-0.03, 1.05))
    left.set_xticks(LAPLACE)
    left.legend(fontsize=8, loc="upper left")
    right.set_xticks(range(len(TESTS)), [name.replace(" (", "\n(") for name in TESTS])
    right.set(title=f"a machine whose weights are off by {NOISE:g}")
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
