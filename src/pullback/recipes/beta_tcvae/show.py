"""How the recipe `beta-tcvae` shows what it measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback.plots import PALETTE, figure, image_sheet
from pullback.runs import Context

Found = Mapping[str, Mapping[str, np.ndarray]]


def style(name: str) -> dict[str, Any]:
    """One colour a family, and a darker mark for the larger weight."""
    family = name.split(" ")[0]
    colour = {"VAE": PALETTE[6], "beta-VAE": PALETTE[1], "beta-TCVAE": PALETTE[0]}[family]
    marker = {"VAE": "o", "beta-VAE": "s", "beta-TCVAE": "^"}[family]
    return {"color": colour, "marker": marker, "linestyle": "none"}


def greek(name: str) -> str:
    return name.replace("beta-", "β-").replace("VAE ", "VAE, β = ")


def draw_gaps(context: Context, found: Found) -> None:
    """The gap of each model, a mark a seed, and what it costs in evidence."""
    fig, (left, right) = figure(1, 2, width=9.6, height=3.8, sharey=True)
    for place, (name, row) in enumerate(found.items()):
        gaps = row["mig"]
        left.plot(np.full(len(gaps), place), gaps, alpha=0.6, **style(name))
        left.hlines(gaps.mean(), place - 0.3, place + 0.3, color=style(name)["color"], linewidth=2)
        last = place == len(found) - 1 or list(found)[place + 1].split(" ")[0] != name.split(" ")[0]
        size = 5 if last else 9
        right.plot(
            -row["distortion"] - row["rate"], gaps, alpha=0.8, label=greek(name),
            **{**style(name), "fillstyle": "full" if last else "none", "markersize": size},
        )  # fmt: skip
    left.set_xticks(range(len(found)), [greek(name).replace(", ", "\n") for name in found])
    left.tick_params(axis="x", labelsize=8)
    left.set(ylabel="mutual information gap", ylim=(0, 1), title="one mark a model")
    left.grid(axis="x", visible=False)
    right.set(xlabel="evidence lower bound (nats an image)", title="and what it costs")
    right.legend(fontsize=8, loc="upper left")
    context.figure(
        "gaps",
        fig,
        "The mutual information gap, from 0 (no factor has a latent of its own) to 1 (each has "
        "one, which alone tells it); bars are means over seeds. Right: beside the evidence lower "
        "bound, whose weights are all 1. A weight on the whole rate costs evidence and gains "
        "little or no gap; a weight on the total correlation alone gains some and costs little; "
        "yet a seed may end in latents that are turned against the factors, and its lower evidence "
        "often tells.",
    )


def draw_parts(context: Context, found: Found) -> None:
    """Rate in its three parts, and the distortion."""
    fig, (left, middle, right) = figure(1, 3, width=10.4, height=3.4)
    places = np.arange(len(found))
    for ax, part, title in (
        (left, "mutual_information", "index-code information"),
        (middle, "total_correlation", "total correlation"),
        (right, "distortion", "distortion"),
    ):
        for place, (name, row) in enumerate(found.items()):
            ax.bar(place, row[part].mean(), color=style(name)["color"], alpha=0.6, width=0.7)
            ax.plot(np.full(len(row[part]), place), row[part], "o", color="black", markersize=3)
        ax.set_xticks(places, [greek(name) for name in found], rotation=30, ha="right", fontsize=8)
        ax.set(title=title, ylabel="nats an image" if ax is left else "")
        ax.grid(axis="x", visible=False)
    context.figure(
        "parts",
        fig,
        "What each way to train does to the parts of the rate, by the exact mixture over all "
        "images; dots are seeds. A weight on the whole rate takes away what the latents tell of "
        "the image, and with it the picture (right: the distortion rises). A weight on the total "
        "correlation takes away the dependence between latents alone.",
    )


def draw_information(
    context: Context,
    matrices: Mapping[str, Float[np.ndarray, "factors latents"]],
    names: Sequence[str],
    entropies: Float[np.ndarray, " factors"],
) -> None:
    """Which latent tells which factor."""
    fig, axes = figure(1, len(matrices), width=3.3 * len(matrices), height=2.6, sharey=True)
    for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
        share = matrix / entropies[:, None]
        # Latents in the order of the factor that each tells most of.
        order = np.lexsort((-share.max(axis=0), share.argmax(axis=0)))
        image = ax.imshow(share[:, order], vmin=0, vmax=1, aspect="auto")
        ax.grid(False)
        ax.set_yticks(range(len(names)), names)
        ax.set_xticks(range(matrix.shape[1]), [f"$z_{{{j + 1}}}$" for j in order])
        ax.set_title(greek(name), fontsize=10)
    fig.colorbar(image, ax=list(axes), label="share of the\nfactor's entropy")
    context.figure(
        "information",
        fig,
        "Mutual information of single latents (columns) with single factors (rows), as a share of "
        "what there is to know of the factor; of each kind the model with the largest gap. One "
        "bright cell a row is what the gap rewards; several half-bright ones say that a factor is "
        "spread over latents.",
    )


def draw_traversals(
    context: Context,
    moved: Mapping[str, Mapping[str, np.ndarray]],
    matrices: Mapping[str, Float[np.ndarray, "factors latents"]],
    names: Sequence[str],
    entropies: Float[np.ndarray, " factors"],
    rows: int,
) -> None:
    """Images as one latent moves."""
    fig, axes = figure(1, len(moved), width=3.6 * len(moved), height=0.36 * rows + 0.7)
    for ax, (name, found) in zip(axes, moved.items(), strict=True):
        order = found["order"][:rows]
        tells = [_told(matrices[name][:, j], entropies, names) for j in order]
        labels = [f"$z_{{{j + 1}}}$: {factor}" for j, factor in zip(order, tells, strict=True)]
        image_sheet(ax, found["images"][:rows], rows=labels, title=greek(name))
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


def _told(
    column: Float[np.ndarray, " factors"],
    entropies: Float[np.ndarray, " factors"],
    names: Sequence[str],
) -> str:
    """The factor that a latent tells most of, if it tells a twentieth of it."""
    share = column / entropies
    return names[int(share.argmax())] if share.max() > 0.05 else "nothing"


def draw_estimates(context: Context, found: Mapping[str, Any], names: Sequence[str]) -> None:
    """Total correlation by batches, and the density behind it."""
    fig, (left, right) = figure(1, 2, width=9.6, height=3.9)
    sizes = found["sizes"]
    places = np.arange(len(sizes))
    for number, name in enumerate(names):
        values = found["total_correlation"][:, number]
        shift = places + 0.12 * (number - len(names) / 2 + 0.5)
        low, high = np.quantile(values, (0.05, 0.95), axis=1)
        mean = values.mean(axis=1)
        kind = {"color": PALETTE[number], "marker": "o^sDv"[number], "linestyle": "none"}
        left.errorbar(shift, mean, yerr=[mean - low, high - mean], label=name, capsize=2, **kind)
        ratio = found["ratio"][:, number]
        error = ratio.std(axis=1, ddof=1) / np.sqrt(ratio.shape[1])
        right.errorbar(shift, ratio.mean(axis=1), yerr=4 * error, capsize=2, **kind)
    left.axhline(found["exact"], color="black", linewidth=1, label="exact")
    left.axhline(0, color="#7b8794", linestyle="--", linewidth=1)
    left.set_yscale("symlog", linthresh=1)
    left.set_ylim(None, 3 * left.get_ylim()[1])
    left.set(ylabel="total correlation (nats)", title="mean, and 9 of 10 batches")
    right.axhline(1, color="black", linewidth=1)
    right.set(yscale="log", ylabel="estimated q(z) over exact", title="mean, and 4 standard errors")
    for ax in (left, right):
        ax.set_xticks(places, [f"{size}" for size in sizes])
        ax.set(xlabel="batch size")
        ax.grid(axis="x", visible=False)
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right center", fontsize=8)
    context.figure(
        "estimates",
        fig,
        "One trained β-TCVAE, seen through batches. Symmetric and stratified weights estimate the "
        "density without bias (right, at 1), yet its logarithm is biased: batches say a total "
        "correlation that is too small, often below zero (left). The published code puts its "
        "weights into the wrong columns and is a plain average. The published weighted estimate "
        "is off by a constant of many nats: its gradient is that of the average, and its value "
        "says nothing.",
    )
