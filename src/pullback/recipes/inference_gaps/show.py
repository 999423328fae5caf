"""The pictures of the recipe `inference-gaps`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback.plots import PALETTE, figure
from pullback.recipes.inference_gaps import measure
from pullback.runs import Context

Row = Mapping[str, np.ndarray]
_FAMILY, _ENCODER = PALETTE[0], PALETTE[1]


def _stacked(ax: Any, place: float, several: Sequence[Row], part: slice, width: float) -> None:
    """The two gaps of one bar: means over images and seeds, and each seed's whole gap."""
    family = [float(row["approximation"][part].mean()) for row in several]
    encoder = [float(row["amortisation"][part].mean()) for row in several]
    ax.bar(place, np.mean(family), width, color=_FAMILY)
    ax.bar(place, np.mean(encoder), width, bottom=np.mean(family), color=_ENCODER)
    whole = np.add(family, encoder)
    ax.plot([place] * len(whole), whole, "o", color="#1f2933", markersize=3)


def draw_gaps(context: Context, rows: Mapping[str, Sequence[Row]], scored: int) -> None:
    """Stacked bars of the gaps of each model, on training and on held-out images."""
    fig, ax = figure(width=8.0, height=3.8)
    for number, several in enumerate(rows.values()):
        for shift, part in ((-0.19, slice(0, scored)), (0.19, slice(scored, None))):
            _stacked(ax, number + shift, several, part, 0.34)
    labels = [f"{name}\ntrain      held out" for name in rows]
    ax.set_xticks(range(len(rows)), labels)
    ax.grid(False, axis="x")
    ax.set_ylabel("nats below log p(x)")
    handles = [
        ax.bar(0, 0, color=_ENCODER, label="amortisation: one encoder for all"),
        ax.bar(0, 0, color=_FAMILY, label="approximation: the family of normals"),
    ]
    ax.legend(handles=handles, loc="upper right")
    context.figure(
        "gaps",
        fig,
        "What the encoder's posterior loses of the exact log-evidence, split in two: what the best "
        "diagonal normal of each image would lose, and what comes on top because one encoder "
        "serves all images. Means over images and seeds; a dot is a seed's whole gap.",
    )


def draw_families(context: Context, rows: Mapping[str, Sequence[Row]]) -> None:
    """The approximation gap, by the family in which each image's best posterior is looked for."""
    fig, ax = figure(width=6.4, height=2.6)
    for number, several in enumerate(rows.values()):
        values = [float(row["approximation"].mean()) for row in several]
        ax.barh(number, np.mean(values), 0.6, color=_FAMILY)
        ax.plot(values, [number] * len(values), "o", color="#1f2933", markersize=3)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.set_xlabel("approximation gap (nats)")
    context.figure(
        "families",
        fig,
        "How far the best posterior of each image lies below the exact log-evidence, by the family "
        "in which it is looked for; the flow's weights are each image's own. Dots are seeds.",
    )


def draw_points(context: Context, several: Sequence[Row], scored: int) -> None:
    """Both gaps of each image."""
    fig, ax = figure(width=5.6, height=4.4)
    floor = 1e-3
    for label, part, colour, marker in (
        ("held out", slice(scored, None), _ENCODER, "^"),
        ("train", slice(0, scored), _FAMILY, "o"),
    ):
        join = lambda name, part=part: np.maximum(
            np.concatenate([row[name][part] for row in several]), floor
        )
        ax.plot(
            join("approximation"), join("amortisation"), marker, color=colour, alpha=0.5,
            markersize=4, linestyle="none", label=label,
        )  # fmt: skip
    ends = np.array([floor, 30.0])
    ax.plot(ends, ends, color="#7b8794", linestyle="--", linewidth=1, label="equal")
    ax.set(
        xscale="log", yscale="log", xlabel="approximation gap (nats)",
        ylabel="amortisation gap (nats)", xlim=(floor * 0.9, 5), ylim=(floor * 0.9, 30),
    )  # fmt: skip
    ax.legend(loc="lower right")
    context.figure(
        "points",
        fig,
        "The two gaps of each image, of the autoencoder with two layers of 64 (all seeds). Above "
        "the line the encoder loses more than the family. Gaps below a thousandth of a nat are "
        "drawn there.",
    )


def draw_planes(
    context: Context,
    images: np.ndarray,
    found: Mapping[str, np.ndarray],
    shown: np.ndarray,
    scored: int,
    row: Row,
) -> None:
    """Exact posterior, the encoder's and the best normal, of a few images."""
    fig, axes = figure(2, len(images), width=2.5 * len(images), height=4.6)
    axis = np.linspace(-measure.REACH, measure.REACH, measure.POINTS)
    side = int(np.sqrt(images.shape[1]))
    for column, number in enumerate(shown):
        top, ax = axes[0, column], axes[1, column]
        top.imshow(images[column].reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
        top.set(xticks=[], yticks=[])
        top.grid(False)
        split = "train" if number < scored else "held out"
        top.set_title(
            f"{split}\nfamily {row['approximation'][number]:.2f}, "
            f"encoder {row['amortisation'][number]:.2f}",
            fontsize=9,
        )
        ax.contourf(
            axis, axis, found["exact"][column], levels=_levels(found["exact"][column], 6),
            cmap="Greys", extend="max",
        )  # fmt: skip
        spans = []
        for name, colour in (("q", _ENCODER), ("local", _FAMILY)):
            density = found[name][column]
            ax.contour(
                axis, axis, density, levels=_levels(density, 3), colors=colour, linewidths=1.2
            )
        for density in (found[name][column] for name in ("exact", "q", "local")):
            high = np.argwhere(density > density.max() * 0.02)
            spans.append((axis[high.min(axis=0)], axis[high.max(axis=0)]))
        low = np.min([span[0] for span in spans], axis=0)
        high = np.max([span[1] for span in spans], axis=0)
        middle, reach = (low + high) / 2, np.max(high - low) / 2 * 1.1
        ax.set(
            xlim=(middle[1] - reach, middle[1] + reach),
            ylim=(middle[0] - reach, middle[0] + reach),
        )
        ax.set_aspect("equal")
        ax.grid(False)
        ax.tick_params(labelsize=7)
    lines = [
        axes[1, 0].plot([], [], color=colour, label=label)[0]
        for colour, label in ((_ENCODER, "encoder's q"), (_FAMILY, "best normal q*"))
    ]
    axes[1, 0].legend(handles=lines, fontsize=7, loc="best", frameon=True)
    context.figure(
        "planes",
        fig,
        "Part of the latent plane for four images, of which the second and fourth are among the "
        "worst: the exact posterior (grey), the encoder's normal and the best one. Above, the "
        "image, and what family and encoder lose in nats.",
    )


def _levels(density: np.ndarray, count: int) -> np.ndarray:
    return density.max() * np.exp(-0.5 * np.linspace(2.5, 0.3, count) ** 2)


def draw_evidence(
    context: Context, rows: Mapping[str, Sequence[Row]], walks: Sequence[Row], scored: int
) -> None:
    """What annealing and importance sampling miss of the exact evidence."""
    fig, axes = figure(1, 2, width=9.0, height=3.8)
    first = next(iter(rows.values()))
    join = lambda several, name, part=slice(None): np.concatenate(
        [row[name][part] for row in several]
    )
    exact, part = join(first, "evidence", slice(scored, None)), slice(scored, None)
    axes[0].plot(
        exact, join(first, "iwae", part) - exact, "^", color=_ENCODER, alpha=0.5, markersize=4,
        linestyle="none", label="weighted bound",
    )  # fmt: skip
    exact = join(walks, "exact")
    axes[0].plot(
        exact, join(walks, "annealed") - exact, "o", color=_FAMILY, markersize=4,
        linestyle="none", label="annealing",
    )  # fmt: skip
    axes[0].axhline(0, color="#7b8794", linestyle="--", linewidth=1)
    axes[0].set(
        xlabel="exact log p(x), held-out images (nats)", ylabel="estimate less exact (nats)"
    )
    axes[0].set_yscale("symlog", linthresh=0.5)
    ticks = [-10, -5, -2, -1, -0.5, 0, 0.5]
    axes[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].minorticks_off()
    axes[0].set_ylim(bottom=-15)
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9)
    below = join(walks, "lower") - join(walks, "simulated_exact")
    above = join(walks, "upper") - join(walks, "simulated_exact")
    order = np.argsort(above)
    axes[1].plot(above[order], "v", color=PALETTE[2], label="annealed back")
    axes[1].plot(below[order], "^", color=_FAMILY, label="annealed forth")
    axes[1].vlines(
        np.arange(len(below)), below[order], above[order], color="#7b8794", linewidth=0.8
    )
    axes[1].axhline(0, color="#7b8794", linestyle="--", linewidth=1)
    axes[1].set(xlabel="simulated images, by the upper bound", ylabel="bound less exact (nats)")
    axes[1].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9)
    context.figure(
        "evidence",
        fig,
        "Left: estimates of the log-evidence beside the exact one. Where the encoder looks in the "
        "wrong place, importance samples from it miss nats, and annealing does not. Right: on "
        "simulated images annealing gives a bound from either side. Each holds on the mean alone: "
        "a single one may lie on the wrong side by chance.",
    )
