"""The pictures of the recipe `chemical-design`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pullback._extras import extra
from pullback.plots import PALETTE, figure
from pullback.recipes.chemical_design.models import WORDS
from pullback.runs import Context

Found = Mapping[str, Mapping[str, Any]]
WAYS = {"ascent": "uphill", "random": "random direction"}


def draw_paths(context: Context, lengths: Sequence[float], found: Found) -> None:
    """QED and validity by the length of a path, uphill and in a random direction."""
    fig, axes = figure(1, 2, width=9.0, height=3.6)
    for colour, (kind, row) in zip(PALETTE, found.items(), strict=False):
        for way, style in zip(WAYS, ("-", "--"), strict=True):
            drawn = {"color": colour, "linestyle": style, "marker": "o"}
            valid, qed = row[way].T
            axes[0].plot(lengths, qed, label=f"{WORDS[kind]}, {WAYS[way]}", **drawn)
            axes[1].plot(lengths, valid, **drawn)
    for ax, name in zip(axes, ("QED of the valid ones", "share valid"), strict=True):
        ax.set(xlabel="length of the path, standard deviations", ylabel=name)
    axes[0].legend(fontsize=8)
    axes[1].set(ylim=(0, 1.03))
    context.figure(
        "paths",
        fig,
        "Paths through the codes from molecules of the least drug-like tenth: up a Gaussian "
        "process fitted to QED, and straight on in a random direction. What is decoded is judged "
        "by RDKit and not by the surrogate. SMILES pay for the way with validity.",
    )


def draw_codes(
    context: Context, codes: Mapping[str, np.ndarray], values: np.ndarray, name: str
) -> None:
    """Held-out codes on their two main axes, coloured by a property."""
    fig, axes = figure(1, len(codes), width=9.0, height=3.8)
    low, high = np.quantile(values, [0.02, 0.98])
    for ax, (title, at) in zip(axes, codes.items(), strict=True):
        ax.scatter(at[:, 0], at[:, 1], c=values, s=9, vmin=low, vmax=high)
        ax.set(title=title, xlabel="first main axis", ylabel="second main axis")
    fig.colorbar(axes[0].collections[0], ax=axes, label=name)
    context.figure(
        "codes",
        fig,
        f"Held-out molecules on the two main axes of the codes, coloured by {name}. The property "
        "net orders the space; without it what varies most is something else.",
    )


def draw_molecules(
    context: Context, lengths: Sequence[float], rows: Sequence[Sequence[str]]
) -> None:
    """Molecules along a few paths, a row each, with their QED."""
    chem, draw, qed = (extra(f"rdkit.Chem{part}", "chem") for part in ("", ".Draw", ".QED"))
    fig, axes = figure(len(rows), len(lengths), width=9.0, height=1.9 * len(rows))
    for ax, smiles in zip(np.ravel(axes), [each for row in rows for each in row], strict=True):
        ax.set_axis_off()
        molecule = chem.MolFromSmiles(smiles)
        if smiles and molecule is not None:
            ax.imshow(draw.MolToImage(molecule, size=(420, 280)))
            ax.set_title(f"QED {qed.qed(molecule):.2f}", fontsize=9, fontweight="normal")
    for ax, length in zip(np.atleast_2d(axes)[0], lengths, strict=True):
        words = f"path of {length:g}" if length else "start"
        ax.set_title(f"{words}: {ax.get_title(loc='left')}", fontsize=9, fontweight="normal")
    context.figure(
        "molecules",
        fig,
        "What is decoded along some paths uphill, by SELFIES, a row a start. That all are valid "
        "does not say that one would make them: see the large rings.",
    )
