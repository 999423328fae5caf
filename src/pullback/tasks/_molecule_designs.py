"""Molecules as they are given back: tables, an SDF file, and drawings."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pullback._extras import extra
from pullback._files import atomic_write, atomic_write_text

from ._molecule_chemistry import drawn, sdf
from ._molecule_input import Asked
from ._outputs import table_writer

DESIGN_FILES = "designs.csv", "designs.sdf", "designs.png"
WAY_FILES = "interpolation.csv", "interpolation.png"
_PICTURED = 20  # molecules of a picture

Columns = dict[str, Sequence[Any]]


class MoleculeDesigns(NamedTuple):
    """Molecules that were designed, the best first.

    Attributes:
        smiles: the designs, canonical, each once.
        start: of each the molecule it started from: the nearest of them.
        counts: how often each was drawn.
        distances: in the latent space, from its start, in standard deviations of the codes.
        similarity: to its start, Tanimoto's of Morgan fingerprints, from 0 to 1.
        known: whether it is a molecule of the fit.
        name: of the property that was climbed.
        mean: of that, by the Gaussian process, at the design's own code.
        sd: of that, likewise: how unsure it is.
        value: by which they are ranked: RDKit's own number where it computes the property, else
            `mean`.
        said: more of each, by name: what the network predicts of what was fitted, "predicted_NAME",
            and RDKit's "logP", "QED", "SAS" and "alerts".
        notes: what there is to say of them, in sentences.
    """

    smiles: tuple[str, ...]
    start: tuple[str, ...]
    counts: Int[np.ndarray, " n"]
    distances: Float[np.ndarray, " n"]
    similarity: Float[np.ndarray, " n"]
    known: tuple[bool, ...]
    name: str
    mean: Float[np.ndarray, " n"]
    sd: Float[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    said: dict[str, Float[np.ndarray, " n"]]
    notes: list[str]

    def columns(self) -> Columns:
        """The table of designs, by its columns."""
        return {
            "name": _numbered("design", len(self.smiles)),
            "smiles": self.smiles,
            "start": self.start,
            "count": self.counts.tolist(),
            "distance": self.distances.tolist(),
            "similarity": self.similarity.tolist(),
            "known": self.known,
            f"mean_{self.name}": self.mean.tolist(),
            f"sd_{self.name}": self.sd.tolist(),
            **cells(self.said),
        }

    def to_frame(self) -> Any:
        """The table of designs as a data frame of pandas, which must be installed."""
        return extra("pandas", "chem").DataFrame(self.columns())

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write `designs.csv`, `designs.sdf` and drawings of the first, `designs.png`.

        Returns:
            The files.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        table, structures, picture = (folder / name for name in DESIGN_FILES)
        columns = self.columns()
        with table_writer(table) as write:
            write(columns)
        names = columns["name"]
        rest = {name: each for name, each in columns.items() if name != "name"}
        atomic_write_text(structures, sdf(names, self.smiles, rest))
        with atomic_write(picture) as file:
            file.write(self.drawing())
        return [table, structures, picture]

    def drawing(self) -> bytes:
        """The first designs, behind the molecule that the best of them started from, as PNG."""
        pairs = zip(self.value.tolist(), self.distances.tolist(), strict=True)
        legends = [
            f"{place}: {self.name} {value:.3g}\ndistance {away:.1f}"
            for place, (value, away) in enumerate(pairs, 1)
        ]
        shown = _PICTURED - 1
        return drawn([self.start[0], *self.smiles[:shown]], ["start of 1", *legends[:shown]])


class MoleculePath(NamedTuple):
    """Molecules on the way from one to another.

    Attributes:
        smiles: of the molecules, the first and the last those asked for; "" where no draw was one.
        part: of the way, from 0 to 1.
        distances: of each one's own code from the code there, in standard deviations; NaN of none.
        valid: the share of the strings drawn there that are molecules.
        similarity: to the first and to the last, Tanimoto's; NaN of none.
        said: as of `MoleculeDesigns`; NaN of none.
        notes: what there is to say of them, in sentences.
    """

    smiles: tuple[str, ...]
    part: Float[np.ndarray, " n"]
    distances: Float[np.ndarray, " n"]
    valid: Float[np.ndarray, " n"]
    similarity: Float[np.ndarray, "n 2"]
    said: dict[str, Float[np.ndarray, " n"]]
    notes: list[str]

    def columns(self) -> Columns:
        """The table of the way, by its columns."""
        near = {"similarity_to_first": self.similarity[:, 0],
                "similarity_to_last": self.similarity[:, 1]}  # fmt: skip
        return {
            "part": self.part.tolist(),
            "smiles": self.smiles,
            "valid": self.valid.tolist(),
            **cells({"distance": self.distances, **near, **self.said}),
        }

    def to_frame(self) -> Any:
        """The table as a data frame of pandas, which must be installed."""
        return extra("pandas", "chem").DataFrame(self.columns())

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write `interpolation.csv` and drawings of the way, `interpolation.png`.

        Returns:
            The files.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        table, picture = (folder / name for name in WAY_FILES)
        with table_writer(table) as write:
            write(self.columns())
        with atomic_write(picture) as file:
            file.write(self.drawing())
        return [table, picture]

    def drawing(self) -> bytes:
        """The molecules of the way, as PNG."""
        shown = np.unique(np.linspace(0, len(self.smiles) - 1, _PICTURED).round().astype(int))
        legends = [f"{self.part[k]:.2f}{'' if self.smiles[k] else ': no molecule'}" for k in shown]
        return drawn([self.smiles[k] for k in shown], legends)


def cells(said: dict[str, Float[np.ndarray, " n"]]) -> Columns:
    """Numbers as cells; what is not known is empty."""
    return {
        name: [None if np.isnan(x) else x for x in values.tolist()] for name, values in said.items()
    }


def _numbered(word: str, count: int) -> list[str]:
    return [f"{word}{place}" for place in range(1, count + 1)]


def table_of_samples(
    smiles: Sequence[str], known: set[str], said: dict[str, Float[np.ndarray, " n"]]
) -> Columns:
    """Molecules that were drawn, as the columns of a table."""
    there = [each in known for each in smiles]
    names = _numbered("sample", len(smiles))
    return {"name": names, "smiles": smiles, "known": there, **cells(said)}


def table_of_scores(
    given: Asked, known: set[str], said: dict[str, Float[np.ndarray, " n"]]
) -> Columns:
    """Molecules that were asked about, in the rows in which they were given, as a table's columns.

    A row of which no molecule was taken has empty cells.
    """
    smiles = given.molecules.smiles
    there = [each in known for each in smiles]
    columns = {"name": given.molecules.names, "smiles": smiles, "known": there, **cells(said)}
    at = {place: k for k, place in enumerate(given.places.tolist())}
    return {
        name: [column[at[row]] if row in at else None for row in range(given.rows)]
        for name, column in columns.items()
    }
