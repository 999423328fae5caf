"""How the recipe `beta-tcvae` shows what it measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, figure, image_sheet
from pullback.runs import Context

_STYLE = {
    "VAE": (PALETTE[6], "o"),
    "beta-VAE": (PALETTE[1], "s"),
    "beta-TCVAE": (PALETTE[0], "^"),
    "FactorVAE": (PALETTE[2], "D"),
}


def greek(name: str) -> str:
    weight = "γ" if name.startswith("FactorVAE") else "β"
    return name.replace("beta-", "β-").replace("VAE ", f"VAE, {weight} = ")


def draw_gaps(context: Context, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """The gap of each model, a mark a seed, what it costs, and the dependence that is left."""
    fig, (left, middle, right) = figure(1, 3, width=12.6, height=3.8, sharey=True)
    for place, (name, row) in enumerate(found.items()):
        gaps, family = row["mig"], name.split(" ")[0]
        colour, marker = _STYLE[family]
        kind: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none"}
        left.plot(np.full(len(gaps), place), gaps, alpha=0.6, **kind)
        left.hlines(gaps.mean(), place - 0.3, place + 0.3, color=colour, linewidth=2)
        largest = [other for other in found if other.split(" ")[0] == family][-1] == name
        kind |= {"fillstyle": "full" if largest else "none", "markersize": 5 if largest else 9}
        middle.plot(row["distortion"], gaps, alpha=0.8, label=greek(name), **kind)
        right.plot(row["total_correlation"], gaps, alpha=0.8, **kind)
    left.set_xticks(range(len(found)), [greek(name).replace(", ", "\n") for name in found])
    left.tick_params(axis="x", labelsize=7)
    left.set(ylabel="mutual information gap", ylim=(0, 1), title="one mark a model")
    left.grid(axis="x", visible=False)
    middle.set(xlabel="distortion (nats an image)", title="what it costs")
    middle.legend(fontsize=7, loc="upper right")
    right.set(xlabel="exact total correlation (nats)", title="dependence that is left")
    context.figure(
        "gaps",
        fig,
        "The mutual information gap, from 0 (no factor has a latent of its own) to 1 (each has "
        "one, which alone tells it); bars are means over seeds. Middle: beside what is lost of the "
        "image: kinds are to be compared at the same place from left to right. "
        "Right: beside the total correlation by the exact mixture over all images. A weight on the "
        "whole rate also takes away what the latents tell, so that little is left to be shared.",
    )


def draw_traversals(
    context: Context,
    moved: Mapping[str, Mapping[str, np.ndarray]],
    shares: Mapping[str, Float[np.ndarray, "factors latents"]],
    names: Sequence[str],
) -> None:
    """Images as one latent moves, beside what it tells: a share of each factor's entropy."""
    rows = min(5, len(next(iter(moved.values()))["order"]))
    fig, axes = figure(1, len(moved), width=3.6 * len(moved), height=0.36 * rows + 0.7)
    for ax, (name, found) in zip(axes, moved.items(), strict=True):
        labels = []
        for latent in found["order"][:rows]:
            share = shares[name][:, latent]
            told = names[int(share.argmax())] if share.max() > 0.05 else "nothing"
            labels.append(f"$z_{{{latent + 1}}}$: {told}")
        image_sheet(ax, found["images"][:rows], rows=labels)
        ax.tick_params(axis="y", labelsize=8)
        ax.set_title(greek(name), fontsize=10)
        ax.set(xlabel="latent from -2 to 2")
    context.figure(
        "traversals",
        fig,
        "One latent moves from -2 to 2 in each row, the others stay; the latents that tell most "
        "are on top, named by the factor that they tell most of. Dark is what is white in the "
        "data. Of each kind the model with the largest gap. Where latents are disentangled, a row "
        "changes one thing.",
    )
