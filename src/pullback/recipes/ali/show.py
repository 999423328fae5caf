"""The pictures of the recipe `ali`."""

from collections.abc import Mapping

import numpy as np

from pullback.plots import PALETTE, figure, image_sheet
from pullback.recipes.ali.models import CENTRES
from pullback.runs import Context

_SHOWN = 1500


def draw_plane(context: Context, found: Mapping[str, np.ndarray]) -> None:
    """Data, samples, reconstructions, latents, and a path from corner to corner: the first seed."""
    fig, axes = figure(1, 4, width=12.4, height=3.3)
    first = {name: values[0] for name, values in found.items()}
    mode = np.argmin(((first["x"][:, None] - CENTRES) ** 2).sum(axis=-1), axis=1)
    titles = {
        "x": "data", "samples": "samples", "reconstructions": "reconstructions",
        "latents": "posterior draws",
    }  # fmt: skip
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        points = first[name][:_SHOWN]
        of_data = name != "samples"
        colours = [PALETTE[m % len(PALETTE)] for m in mode[:_SHOWN]] if of_data else "0.4"
        ax.scatter(*points.T, s=3, c=colours, alpha=0.6, linewidths=0)
        reach = 3.5 if name == "latents" else 1.6
        ax.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes[1].plot(*first["path"].T, color=PALETTE[1], linewidth=1.2, label="a path")
    axes[1].legend(fontsize=8, loc="upper left")
    context.figure(
        "nine-modes",
        fig,
        "The first seed. Data in the colours of their modes; samples, with what the decoder makes "
        "of the arc between the latents of two corners; reconstructions and draws of the posterior "
        "in the colours of the data that they are of. Without a reconstruction loss they come back "
        "to their mode.",
    )


def draw_deviations(
    context: Context, found: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]
) -> None:
    """Latents of data: by the encoder, and by an inverse that was regressed."""
    fig, axes = figure(1, 2, width=7.4, height=3.3, sharey=True)
    at = np.linspace(-4, 4, 200)
    of = {"ALI's encoder": found, "regressed inverse of a GAN": other}
    for ax, (title, rows) in zip(axes, of.items(), strict=True):
        for number, latents in enumerate(rows["latents"]):
            ax.hist(
                latents.ravel(), bins=np.linspace(-4, 4, 60), density=True, histtype="step",
                color=PALETTE[number % len(PALETTE)],
            )  # fmt: skip
        ax.plot(at, np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi), color="0.2", linestyle="--")
        ax.set(title=title, xlabel="latents of data", xlim=(-4, 4))
    axes[0].set(ylabel="density")
    context.figure(
        "latents",
        fig,
        "Latents of data, both columns, a colour a seed, beside the prior (dashed).",
    )


def draw_images(context: Context, row: Mapping[str, np.ndarray], source: str) -> None:
    """Samples, reconstructions, and paths between images: the first seed."""
    square = lambda images: images.reshape(
        *images.shape[:-1], *[round(images.shape[-1] ** 0.5)] * 2
    )
    fig, axes = figure(1, 3, width=12.4, height=4.4)
    samples = row["samples"][:80].reshape(8, 10, -1)
    pairs = np.stack([row["x"][:40].reshape(4, 10, -1), row["again"][:40].reshape(4, 10, -1)])
    both = pairs.transpose(1, 0, 2, 3).reshape(8, 10, -1)
    for ax, images, title in zip(
        axes, (samples, both, row["paths"][:8]),
        ("samples", "images and, below, reconstructions", "paths between two images"), strict=True,
    ):  # fmt: skip
        image_sheet(ax, np.clip(square(images), 0, 1), title=title)
    context.figure(
        "images",
        fig,
        f"{source}, the first seed. Reconstructions lie below the test images that they are of; a "
        "path goes from the reconstruction of one test image to that of another, along the arc "
        "between their latents.",
    )
