"""How the recipe `lsd` shows what it measured."""

from collections.abc import Mapping

import numpy as np

from pullback.plots import PALETTE, figure, image_sheet
from pullback.recipes.lsd.measure import COLUMNS, NOISE, TESTS
from pullback.runs import Context

METHODS = ("maximum likelihood", "sliced score matching", "LSD")


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
        f"{gap['start'].min():.0f} to {gap['start'].max():.0f} nats behind. Only maximum "
        "likelihood needs the normaliser, and only score matching third derivatives.",
    )


def draw_power(
    context: Context, laplace: Mapping[str, np.ndarray], machines: Mapping[int, np.ndarray]
) -> None:
    """How often each test rejects a model that is wrong, and one that is right."""
    fig, ax = figure(width=8.4, height=3.8)
    groups = {
        "a right model": laplace["right"],
        f"{COLUMNS} Laplace\ncolumns": laplace["wrong"],
        **{f"a machine of {visible},\noff by {NOISE:g}": p for visible, p in machines.items()},
    }
    for at, p in enumerate(groups.values()):
        for place, name in enumerate(TESTS):
            rate = float((p[place] <= 0.05).mean())
            error = np.sqrt(rate * (1 - rate) / p.shape[1])
            ax.bar(
                at + 0.27 * (place - 1), rate, 0.25, yerr=error, capsize=3, alpha=0.7,
                color=PALETTE[place], label=name if at == 0 else None,
            )  # fmt: skip
    ax.axhline(0.05, color="black", linestyle=":", linewidth=1, label="level 0.05")
    ax.set_xticks(range(len(groups)), list(groups))
    ax.set(ylabel="share of tests that reject", ylim=(0, 1.05))
    ax.grid(axis="x", visible=False)
    ax.legend(fontsize=8, loc="upper left")
    sets = ", ".join(str(p.shape[1]) for p in groups.values())
    context.figure(
        "power",
        fig,
        "How often three tests at level 0.05 reject, by the score alone; all get the same data "
        f"sets ({sets} of each kind; bars are standard errors). From the left: a model that is "
        "right; a standard Gaussian where all columns are Laplace of the same mean and variance; "
        "Boltzmann machines of few and of many visible units whose weights have a little noise. A "
        "learned critic finds what a kernel of one width averages away, and pays for it by testing "
        "on a tenth of the data.",
    )


def draw_images(context: Context, data: np.ndarray, drawn: np.ndarray) -> None:
    """Images, and what chains draw from the energy that learned from them."""
    fig, axes = figure(1, 2, width=8.4, height=4.6)
    side = round(data.shape[1] ** 0.5)
    for ax, images, title in zip(
        axes, (data, drawn), ("data", "chains, by the energy"), strict=True
    ):
        image_sheet(ax, np.clip(images, 0, 1).reshape(-1, 8, side, side), title=title)
    context.figure(
        "images",
        fig,
        "Images with noise, and the ends of Langevin chains on the energy that learned from them, "
        "which no chain took part in training. They start in noise.",
    )
