"""How the recipe `i-resnet` shows what it measured."""

from collections.abc import Mapping, Sequence

import numpy as np

from pullback.plots import PALETTE, density_image, figure, image_sheet, line_with_spread
from pullback.recipes.i_resnet.measure import SHOWN, TERMS
from pullback.runs import Context

Found = Mapping[str, Mapping[str, np.ndarray]]
_FLOOR = 1e-8


def colours(names: Sequence[str]) -> dict[str, str]:
    """One colour a kind: orange without a bound."""
    plain = iter((PALETTE[0], PALETTE[2], PALETTE[3], PALETTE[4], PALETTE[5]))
    return {name: PALETTE[1] if name == names[0] else next(plain) for name in names}


def draw_inverse(context: Context, found: Found, at: Sequence[int]) -> None:
    """Error after so many iterations, and accuracy, of each kind."""
    fig, (left, right) = figure(1, 2, width=10.0, height=4.0)
    colour = colours(list(found))
    for place, (name, row) in enumerate(found.items()):
        curves = np.log10(np.maximum(np.median(row["errors"], axis=2), _FLOOR))
        line_with_spread(left, np.asarray(at) + 1.0, curves, label=name, colour=colour[name])
        right.plot(
            np.full(len(row["accuracy"]), place), 100 * row["accuracy"], "o", color=colour[name],
            alpha=0.7,
        )  # fmt: skip
        right.hlines(100 * row["accuracy"].mean(), place - 0.3, place + 0.3, color=colour[name])
    left.set_xscale("log")
    shown = [n for n in (0, 1, 3, 10, 30, 100) if n <= at[-1]]
    left.set_xticks([n + 1 for n in shown], [str(n) for n in shown])
    left.minorticks_off()
    left.set_ylim(None, 8.5)
    ticks = [-8, -6, -4, -2, 0, 2, 4, 6, 8]
    left.set_yticks(ticks, [f"$10^{{{tick}}}$" for tick in ticks])
    left.set(xlabel="iterations of each block", ylabel="distance from the image")
    left.set_title("error of the inverse")
    left.legend(fontsize=8)
    right.set_xticks(range(len(found)), [name.replace(", ", ",\n") for name in found], fontsize=8)
    right.set(ylabel="test accuracy (%)", title="what the bound costs", xlim=(-0.6, None))
    right.grid(axis="x", visible=False)
    context.figure(
        "inverse",
        fig,
        "Left: features of held-out images are carried back through all blocks, by so many "
        "iterations of each; the median over images, and a band of one deviation over seeds. A "
        "bound on every layer makes the iteration a contraction, and it ends at the rounding of "
        "32 bits; without one it diverges, and leaves the picture. Right: accuracy, a dot a "
        "seed.",
    )


def draw_rates(context: Context, rates: Found) -> None:
    """Errors of the iterates against the bound of the contraction."""
    fig, axes = figure(1, len(rates), width=4.6 * len(rates), height=3.6, sharey=True)
    for ax, (name, row) in zip(np.atleast_1d(axes), rates.items(), strict=True):
        blocks = row["error"].shape[1]
        for block in range(blocks):
            colour = PALETTE[block % len(PALETTE)]
            label = "measured" if block == 0 else None
            ax.plot(row["error"][0, block], "o-", color=colour, markersize=3,
                    label=label)  # fmt: skip
            ax.plot(row["bound"][0, block], ":", color=colour,
                    label="bound" if block == 0 else None)  # fmt: skip
        ax.set(yscale="log", xlabel="iteration n", title=name, ylim=(_FLOOR, None))
    np.atleast_1d(axes)[0].set_ylabel("distance from the fixed point")
    np.atleast_1d(axes)[0].legend(fontsize=8)
    context.figure(
        "rates",
        fig,
        "Each block of the first seed (a colour) alone: the distance of the iterates from the "
        "fixed point, means over images, and the bound Lⁿ / (1 - L) |x₁ - x₀|, with L the "
        "product of the layers' exact singular values. The iteration is faster than the "
        "bound, for no direction is stretched by all layers at once; it ends at rounding.",
    )


def draw_images(context: Context, shown: Mapping[str, np.ndarray], kinds: Sequence[str]) -> None:
    """Images from their features, by more and more iterations."""
    fig, axes = figure(1, len(kinds), width=3.4 * len(kinds), height=2.7)
    for ax, name in zip(np.atleast_1d(axes), kinds, strict=True):
        rows = [shown["image"], *(shown[f"{name}, {n}"] for n in SHOWN)]
        labels = ["image", *(f"n = {n}" for n in SHOWN)]
        image_sheet(ax, np.stack(rows), rows=labels)
        ax.tick_params(axis="y", labelsize=8)
        ax.set_title(name, fontsize=10)
    context.figure(
        "images",
        fig,
        "Held-out images, and what n iterations of each block make of their features (grey levels "
        "cut at black and white). With a bound the image is back; without one the iteration is "
        "thrown ever farther.",
    )


def draw_moons(context: Context, found: Mapping[str, np.ndarray]) -> None:
    """The density, its samples, and what the series leaves out."""
    fig, (left, middle, right) = figure(1, 3, width=11.0, height=3.5)
    extent = (-4, 4, -4, 4)
    density_image(left, found["density"][0], extent, title="density")
    for ax in (left, middle):
        ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    middle.plot(*found["points"].T, ".", color="#7b8794", markersize=2, label="data")
    middle.plot(*found["samples"][0].T, ".", color=PALETTE[0], markersize=2, label="samples")
    middle.set(xticks=[], yticks=[], title="samples, by the inverse")
    middle.set_aspect("equal")
    middle.legend(loc="upper right", fontsize=8, markerscale=4)
    for name, key, colour in (
        ("bound", "left_out_bound", PALETTE[6]),
        ("largest error", "left_out", PALETTE[0]),
    ):
        curves = np.log10(np.maximum(found[key], _FLOOR))
        line_with_spread(right, np.asarray(TERMS), curves, label=name, colour=colour)
    ticks = [2, 0, -2, -4, -6]
    right.set_yticks(ticks, [f"$10^{{{tick}}}$" for tick in ticks])
    right.set(xlabel="terms of the series", ylabel="nats")
    right.set_title("what the series leaves out")
    right.legend(fontsize=8)
    context.figure(
        "moons",
        fig,
        "Two moons, by a density trained on the exact log-determinant (first seed). Right: the "
        "largest error over test points of the truncated series with an exact trace, and the "
        "bound from exact singular values; bands are one deviation over seeds.",
    )
