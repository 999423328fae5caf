"""The pictures of the recipe `residual-flow`."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, density_image, figure, image_sheet, line_with_spread
from pullback.runs import Context

HALF_WIDTH = 4.5
_GAMMA = 0.6


def draw_gaps(
    context: Context,
    found: Mapping[str, Mapping[str, np.ndarray]],
    losses: Mapping[str, Float[np.ndarray, "times seeds"]],
    entropy: float,
) -> None:
    """The losses that the flows saw; what each kind says of itself, and what is true."""
    fig, (left, right) = figure(1, 2, width=9.6, height=3.6)
    for name, history in losses.items():
        line_with_spread(
            left, 50 * np.arange(1, len(history) + 1), history.T, label=name, marker=None
        )
    left.set(xlabel="training steps", ylabel="training loss, nats", ylim=(entropy - 2.5, None))
    for kind, shift, colour, label in (
        ("own", -0.12, PALETTE[1], "by its own estimate"),
        ("exact", 0.12, PALETTE[0], "exactly"),
    ):
        places = np.arange(len(found))[:, None] + shift
        values = np.stack([row[kind] for row in found.values()])
        right.plot(places.repeat(values.shape[1], 1).ravel(), values.ravel(), "o", color=colour,
                   alpha=0.8, label=label)  # fmt: skip
    right.set_xticks(range(len(found)), [*found])
    right.set(ylabel="nats a point, held out", xlabel="log-determinants in training")
    for ax in (left, right):
        ax.axhline(entropy, color="0.3", ls=":", label="entropy of the data: nothing can be below")
        ax.legend(fontsize=8)
    context.figure(
        "gap",
        fig,
        "Left: the loss that each flow sees; mean and standard deviation over the seeds. Right: "
        "the negative log-likelihood of held-out points, as each flow estimates it in training and "
        "as it is, a dot for each seed. A truncated series is biased, and the flow has learnt to "
        "use the bias: it reports what no density can reach, and is the worse for it. The "
        "roulette's figure is honest.",
    )


def draw_densities(
    context: Context,
    points: Float[np.ndarray, "n 2"],
    kinds: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Data, and for each kind of flow its density over its samples."""
    fig, axes = figure(2, len(kinds) + 1, width=2.1 * (len(kinds) + 1), height=4.5)
    extent = (-HALF_WIDTH, HALF_WIDTH, -HALF_WIDTH, HALF_WIDTH)
    largest = max(float(found["density"].max()) for found in kinds.values())
    axes[0, 0].scatter(*points[:4000].T, s=1, alpha=0.4, linewidths=0)
    axes[0, 0].set_title("data")
    axes[1, 0].axis("off")
    for column, (name, found) in enumerate(kinds.items(), start=1):
        density = found["density"].reshape(2 * [math.isqrt(found["density"].size)])
        density_image(axes[0, column], (density / largest) ** _GAMMA, extent)
        axes[0, column].set_title(name)
        axes[1, column].scatter(*found["samples"].T, s=1, alpha=0.4, linewidths=0)
    for ax in axes.ravel():
        ax.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[], aspect="equal")
        ax.grid(False)
    axes[0, 1].set_ylabel("density")
    axes[1, 1].set_ylabel("samples")
    context.figure(
        "densities",
        fig,
        "The checkerboard; the exact densities of flows trained with each way of finding "
        f"log-determinants (to the power {_GAMMA}, first seed); and their samples.",
    )


def draw_bits(context: Context, found: Mapping[str, np.ndarray]) -> None:
    """Bits a dimension of each kind of flow, a dot a seed."""
    fig, ax = figure(width=7.0, height=0.8 + 0.5 * len(found))
    for place, (name, bits) in enumerate(found.items()):
        colour = PALETTE[1] if "couplings" in name else PALETTE[0]
        ax.plot(bits, np.full(len(bits), place), "o", color=colour, alpha=0.7)
        ax.vlines(bits.mean(), place - 0.3, place + 0.3, color=colour)
    ax.set_yticks(range(len(found)), list(found))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="bits a dimension, held out")
    context.figure(
        "bits",
        fig,
        "Bits a dimension of held-out images by exact log-determinants; a dot a seed, a line at "
        "the mean. Blue: residual blocks. Orange: couplings with as many parameters.",
    )


def draw_images(context: Context, *sheets: np.ndarray) -> None:
    """Held-out images beside samples."""
    fig, axes = figure(1, 2, width=8.4, height=3.6)
    for ax, rows, title in zip(axes, sheets, ("held-out images", "samples"), strict=True):
        pixels = np.moveaxis(rows, 1, 3).reshape(5, 8, *rows.shape[2:], -1)
        image_sheet(ax, pixels if pixels.shape[-1] == 3 else pixels[..., 0], title=title)
    context.figure(
        "images", fig,
        "Images that the flows have not seen, and samples of the residual flow (first seed).",
    )  # fmt: skip
