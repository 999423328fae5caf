"""The pictures of the recipe `inference-gaps`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.inference_gaps.measure import PLANE
from pullback.runs import Context

Row = Mapping[str, np.ndarray]
_FAMILY, _ENCODER = PALETTE[0], PALETTE[1]


def draw_gaps(context: Context, found: Mapping[str, Row], scored: int) -> None:
    """Stacked bars of the gaps of each model, on training and on held-out images."""
    fig, ax = figure(width=8.0, height=3.8)
    for number, row in enumerate(found.values()):
        for shift, part in ((-0.19, slice(0, scored)), (0.19, slice(scored, None))):
            place, first = number + shift, number + shift < 0
            family, encoder = (
                row[gap][:, part].mean(1) for gap in ("approximation", "amortisation")
            )
            ax.bar(place, encoder.mean(), 0.34, bottom=family.mean(), color=_ENCODER,
                   label="amortisation: one encoder for all" if first else None)  # fmt: skip
            ax.bar(place, family.mean(), 0.34, color=_FAMILY,
                   label="approximation: the family" if first else None)  # fmt: skip
            ax.plot([place] * len(family), family + encoder, "o", color="#1f2933", markersize=3)
    ax.set_xticks(range(len(found)), [f"{name}\ntrain      held out" for name in found])
    ax.grid(False, axis="x")
    ax.set_ylabel("nats below log p(x)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    context.figure(
        "gaps",
        fig,
        "What the encoder's posterior loses of the log-evidence, split in two: what the best of "
        "its family would lose for each image, and what comes on top because one encoder serves "
        "all images. Means over images and seeds; a dot is a seed's whole gap. Where dots lie "
        "within the lower part, the encoder's own family is wider than the one that is named.",
    )


def draw_planes(context: Context, images: np.ndarray, found: Row, titles: Sequence[str]) -> None:
    """Exact posterior, the encoder's and the best normal, of a few images."""
    fig, axes = figure(2, len(images), width=2.5 * len(images), height=4.6)
    axis = np.linspace(-PLANE.reach, PLANE.reach, PLANE.side)
    side = int(np.sqrt(images.shape[1]))
    for number, (top, ax) in enumerate(axes.T):
        top.imshow(images[number].reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
        top.set(xticks=[], yticks=[])
        top.set_title(titles[number], fontsize=9)
        exact, q, local = (found[name][number] for name in ("exact", "q", "local"))
        ax.contourf(axis, axis, exact, levels=_levels(exact, 6), cmap="Greys", extend="max")
        for density, colour in ((q, _ENCODER), (local, _FAMILY)):
            ax.contour(axis, axis, density, levels=_levels(density, 3), colors=colour)
        seen = axis[np.argwhere(np.any([d > 0.02 * d.max() for d in (exact, q, local)], axis=0))]
        middle, reach = (seen.min(0) + seen.max(0)) / 2, 0.55 * np.max(np.ptp(seen, axis=0))
        limits: Any = [(m - reach, m + reach) for m in middle]
        ax.set(xlim=limits[1], ylim=limits[0], aspect="equal")
        for each in (top, ax):
            each.grid(False)
        ax.tick_params(labelsize=7)
    for colour, label in ((_ENCODER, "encoder's q"), (_FAMILY, "best normal q*")):
        axes[1, 0].plot([], [], color=colour, label=label)
    axes[1, 0].legend(fontsize=7, loc="best", frameon=True)
    context.figure(
        "planes",
        fig,
        "Part of the latent plane for four images, of which the second and fourth are among the "
        "worst: the exact posterior (grey), the encoder's normal and the best one. Above, the "
        "image, and what family and encoder lose in nats.",
    )


def _levels(density: np.ndarray, count: int) -> np.ndarray:
    return density.max() * np.exp(-0.5 * np.linspace(2.5, 0.3, count) ** 2)
