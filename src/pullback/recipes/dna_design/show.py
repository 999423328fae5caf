"""The pictures of the recipe `dna-design`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, sequence_logo
from pullback.recipes.dna_design import measure
from pullback.runs import Context


def draw_scores(
    context: Context, found: Mapping[str, Any], ways: Sequence[str], label: str, caption: str,
    *, name: str = "scores",
) -> None:  # fmt: skip
    """How the scores of each way lie, beside the limit that is to be passed."""
    fig, ax = figure(width=7.4, height=0.42 * len(ways) + 1.0)
    scores = [found["ways"][way]["scores"] for way in ways]
    ax.boxplot(
        scores, orientation="horizontal", widths=0.6, whis=(0, 100), tick_labels=list(ways),
        medianprops={"color": PALETTE[1]},
    )  # fmt: skip
    ax.axvline(found["limit"], color=PALETTE[0], linewidth=0.9, linestyle="--")
    ax.invert_yaxis()
    ax.set(xlabel=label)
    context.figure(name, fig, caption)


def draw_plane(
    context: Context, found: Sequence[Mapping[str, Any]], ways: Sequence[str], label: str
) -> None:
    """What a way reaches, by how far it goes from the data."""
    fig, ax = figure(height=3.8)
    for place, way in enumerate(ways):
        ax.plot(
            measure.each(found, way, "distance"), measure.each(found, way, "score"), "o",
            color=PALETTE[place % len(PALETTE)], label=way,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set(xlabel="3-mer distance to training, nats", ylabel=label)
    ax.legend(fontsize=8)
    context.figure(
        "plane", fig,
        "Mean score of a way's sequences by the divergence of their 3-mers from training's; points "
        "are runs. Wanted is the upper left.",
    )  # fmt: skip


def draw_training(context: Context, histories: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """How far samples are from held-out sequences, while the GAN is trained."""
    fig, ax = figure(height=3.2)
    for place, (name, history) in enumerate(histories.items()):
        ax.plot(history["step"], history["distance"], color=PALETTE[place], label=name)
    ax.set_ylim(bottom=0)
    ax.set(xlabel="step of the generator", ylabel="Wasserstein distance")
    ax.legend(fontsize=8)
    context.figure(
        "training", fig,
        "The distance of samples to sequences that neither player has seen, as the critic finds "
        "it: it falls while training helps.",
    )  # fmt: skip


def draw_logos(
    context: Context, groups: Mapping[str, Sequence[str]], caption: str, *, name: str = "logos"
) -> None:
    """Which letters stand at each place, of each group."""
    fig, axes = figure(len(groups), 1, width=8.4, height=1.3 * len(groups))
    for ax, (group, strings) in zip(np.atleast_1d(axes), groups.items(), strict=True):
        sequence_logo(ax, measure.letter_shares(strings))
        ax.set_title(group, fontsize=9)
    context.figure(name, fig, caption)
