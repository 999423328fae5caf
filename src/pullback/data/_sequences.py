"""Sequences of letters, motifs and molecules, as they are read."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Sequences(NamedTuple):
    """Sequences of letters, such as DNA, with a name each and where known a score each.

    Args:
        names: One a sequence; its number, from "1", where the file has none.
        letters: The sequences, in capital letters.
        scores: What was measured of each, in the file's unit; None where nothing was.
        source: Where they came from, for messages.
    """

    names: tuple[str, ...]
    letters: tuple[str, ...]
    scores: Float[np.ndarray, " sequences"] | None = None
    source: str = "the sequences"


class Motif(NamedTuple):
    """What a protein binds, as counts of letters at each place.

    Args:
        identifier: "MA0058.1" for example.
        name: Of the protein.
        counts: A row a place, a column a letter of `alphabet`; probabilities count as well.
        alphabet: The letters of the columns.
    """

    identifier: str
    name: str
    counts: Float[np.ndarray, "width letters"]
    alphabet: str = "ACGT"


class Molecules(NamedTuple):
    """Molecules as canonical SMILES, with a name each and what was measured of them.

    Args:
        names: One a molecule; its number, from "1", where the file has none.
        smiles: Canonical, by RDKit.
        properties: By name, a number for each molecule, NaN where it was not measured.
        source: Where they came from, for messages.
    """

    names: tuple[str, ...]
    smiles: tuple[str, ...]
    properties: dict[str, Float[np.ndarray, " molecules"]]
    source: str = "the molecules"
