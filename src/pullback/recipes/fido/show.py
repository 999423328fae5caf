"""The pictures of the recipe `fido`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure, image_sheet, line_with_spread
from pullback.runs import Context


def draw_maps(context: Context, found: Mapping[str, Any]) -> None:
    """Scenes, what is known of them, and the map of each infill with its counterfactual."""
    scenes, count = found["scenes"], 10
    light = lambda images: 1 - np.clip(np.asarray(images)[:count], 0, 1)  # a sheet draws ink
    dark = lambda maps: np.asarray(maps, float)[:count]
    rows = {"scene": light(scenes["x"]), "strokes": dark(scenes["strokes"])}
    for name, filled in found["counterfactuals"].items():
        rows[name] = dark(found["ways"][name]["map"])
        rows[f"{name}, without"] = light(filled)
    rows["what was behind"] = light(scenes["background"])
    for name in ("generative, kept", "grey, kept", "generative, coarse", "generative, black box"):
        rows[name] = dark(found["ways"][name]["map"])
    fig, ax = figure(width=9.6, height=11)
    image_sheet(ax, np.stack([*rows.values()]), rows=list(rows))
    context.figure(
        "maps",
        fig,
        "Scenes, and which pixels are strokes. Then for each infill the map of the smallest region "
        "that destroys the class, dark where a pixel matters, and the scene with that region "
        "filled in; what was really behind; the maps of the smallest region that keeps the class; "
        "and maps on a coarse grid by gradients, and of the same classifier as a black box.",
    )


def draw_curves(context: Context, found: Sequence[Mapping[str, Any]]) -> None:
    """Log-odds as pixels go, and how large and how precise regions are."""
    fig, axes = figure(1, 2, width=9.6, height=3.8)
    for colour, name in zip(PALETTE, found[0]["curves"], strict=False):
        values = np.stack([one["curves"][name]["log_odds"] for one in found])
        share = np.linspace(0, 1, values.shape[1])
        line_with_spread(axes[0], share, values, label=name, colour=colour, marker=None)
    axes[0].axhline(0, color="black", linewidth=0.6)
    axes[0].set(xlabel="share of pixels replaced by what was behind", ylabel="log-odds, nats")
    axes[0].legend(fontsize=8, title="order of the map of")
    for colour, name in zip(PALETTE * 2, found[0]["ways"], strict=False):
        at = [[one["ways"][name][of] for one in found] for of in ("area", "precision")]
        axes[1].scatter(*at, s=24, color=colour, label=name, marker="s" if "," in name else "o")
    chance = np.mean([one["scenes"]["strokes"] for one in found])
    axes[1].axhline(chance, color="black", linestyle="--", linewidth=0.8, label="chance")
    axes[1].set(xlabel="pixels of the region", ylabel="share that is strokes", ylim=(0, 1))
    axes[1].legend(fontsize=7)
    context.figure(
        "regions",
        fig,
        "Left: log-odds of the class as pixels go in the order of a map and what was really behind "
        "the digit comes, mean and standard deviation over seeds; fragments of strokes take "
        "it lower than none. Right: each seed's regions, small and precise at the upper left.",
    )
