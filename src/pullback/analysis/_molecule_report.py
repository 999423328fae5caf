"""How good a sample of molecules is, beside those that a model was trained on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import wasserstein_distance

from pullback._extras import extra
from pullback._inputs import positive
from pullback.analysis._molecule_properties import molecule_properties, read_smiles, smiles_of
from pullback.data import Molecules

_NAMES = ("logP", "QED", "SAS")
# As MOSES has them.
_RADIUS, _BITS = 2, 1024


class MoleculeReport(NamedTuple):
    """How good a sample of molecules is. Shares are NaN where there is nothing to count.

    Attributes:
        drawn: how many strings there were.
        valid: of these the share that are molecules: that RDKit reads, and that have an atom.
        empty: of these the share that are nothing: "", or without an atom.
        unique: of the valid the share that are left when each molecule counts once.
        novel: of the unique the share that are not in the reference. Stereo counts: the other hand
            of a molecule is another molecule.
        diversity: one minus the mean similarity of two different molecules of the unique.
        nearest: the mean similarity of a unique molecule to the most similar one of the reference.
        alerts: of the unique the share with a part of which chemists beware, of PAINS or of Brenk.
        smiles: the unique molecules, canonical, in the order in which they were drawn.
        properties: of the unique, "logP", "QED" and "SAS".
        reference: the same of the first molecules of the reference, each of them once.
        distance: of each property, the Wasserstein distance between the two, in its unit.
    """

    drawn: int
    valid: float
    empty: float
    unique: float
    novel: float
    diversity: float
    nearest: float
    alerts: float
    smiles: tuple[str, ...]
    properties: dict[str, Float[np.ndarray, " unique"]]
    reference: dict[str, Float[np.ndarray, " reference"]]
    distance: dict[str, float]

    def rows(self) -> list[tuple[str, float]]:
        """Names and numbers, for a table."""
        shares = ("valid", "empty", "unique", "novel", "diversity", "nearest", "alerts")
        found = [(name, float(getattr(self, name))) for name in shares]
        for name, values in self.properties.items():
            found.append((f"mean {name}", float(values.mean()) if len(values) else np.nan))
            found.append((f"distance of {name}", self.distance[name]))
        return found


def molecule_report(
    smiles: Sequence[str] | Molecules, reference: Sequence[str] | Molecules, *, most: int = 2000
) -> MoleculeReport:
    r"""How good a sample of molecules is, beside those that a model was trained on.

    Similarity is Tanimoto's, of Morgan fingerprints A and B of radius 2 with 1024 bits,

    $$ s = \frac{|A \cap B|}{|A \cup B|} $$

    Args:
        smiles: what was drawn, molecules or not.
        reference: the molecules that the model was trained on.
        most: similarities are those of so many molecules, the first of each side, for their cost
            grows with the square; and of so many are the properties of the reference.

    Raises:
        ValueError: there is nothing drawn, or no molecule in `reference`.
        TypeError: `smiles` or `reference` is one string, or holds what is none.
        ImportError: RDKit is not installed; the message says how.

    Example:
        >>> found = molecule_report(["CCO", "OCC", "C1CC", "", "CCN"], ["CCO", "CCC"])
        >>> found.valid, found.empty, round(found.unique, 3), found.novel
        (0.6, 0.2, 0.667, 0.5)

    Source: Polykovskiy et al., Molecular Sets (MOSES), arXiv 1811.12823, section 3, but that an
        empty string is no molecule, and that no molecule is compared with itself; Baell and
        Holloway, J. Med. Chem. 53 (2010), and Brenk et al., ChemMedChem 3 (2008), for alerts.
    """
    positive(most=most)
    drawn, known = smiles_of(smiles), smiles_of(reference, "reference")
    read, theirs = read_smiles(drawn), read_smiles(known)
    if not drawn:
        raise ValueError("`smiles` must hold at least one string, got none.")
    if not any(m is not None for m in theirs):
        raise ValueError(
            f"`reference` must hold molecules; RDKit reads none of its {len(known)} strings."
        )
    ours, others = _canonical(read), _canonical(theirs)
    valid = sum(m is not None for m in read)
    properties = molecule_properties(list(ours), _NAMES)
    expected = molecule_properties(list(others)[:most], _NAMES)
    prints = _fingerprints(list(ours.values())[:most])
    beside = _fingerprints(list(others.values())[:most])
    return MoleculeReport(
        drawn=len(drawn),
        valid=valid / len(drawn),
        empty=_empty(drawn, read) / len(drawn),
        unique=len(ours) / valid if valid else np.nan,
        novel=_share([each not in others for each in ours]),
        diversity=_diversity(prints),
        nearest=float(_similarities(prints, beside).max(1).mean()) if len(prints) else np.nan,
        alerts=_share(molecule_properties(list(ours), ["alerts"])["alerts"] > 0),
        smiles=tuple(ours),
        properties=properties,
        reference=expected,
        distance={name: _distance(properties[name], expected[name]) for name in _NAMES},
    )


def _canonical(molecules: Sequence[Any]) -> dict[str, Any]:
    """Each molecule once, by its canonical SMILES."""
    write = extra("rdkit.Chem", "chem").MolToSmiles
    found: dict[str, Any] = {}
    for molecule in molecules:
        if molecule is not None:
            found.setdefault(write(molecule), molecule)
    return found


def _empty(strings: Sequence[str], read: Sequence[Any]) -> int:
    """How many strings RDKit reads as a molecule without atoms."""
    chem = extra("rdkit.Chem", "chem")
    with extra("rdkit.rdBase", "chem").BlockLogs():
        return sum(
            molecule is None and chem.MolFromSmiles(string) is not None
            for string, molecule in zip(strings, read, strict=True)
        )


def _fingerprints(molecules: Sequence[Any]) -> Float[np.ndarray, "n bits"]:
    maker = extra("rdkit.Chem.rdFingerprintGenerator", "chem")
    make = maker.GetMorganGenerator(radius=_RADIUS, fpSize=_BITS)
    found = [make.GetFingerprintAsNumPy(molecule) for molecule in molecules]
    return np.asarray(found, np.float32).reshape(-1, _BITS)


def _similarities(
    a: Float[np.ndarray, "n bits"], b: Float[np.ndarray, "m bits"]
) -> Float[np.ndarray, "n m"]:
    shared = a @ b.T
    return shared / (a.sum(1)[:, None] + b.sum(1) - shared)


def _diversity(prints: Float[np.ndarray, "n bits"]) -> float:
    count = len(prints)
    if count < 2:
        return np.nan
    total = _similarities(prints, prints).sum(dtype=np.float64) - count
    return float(1 - total / (count * (count - 1)))


def _share(found: Sequence[bool] | np.ndarray) -> float:
    return float(np.mean(found)) if len(found) else np.nan


def _distance(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> float:
    return float(wasserstein_distance(a, b)) if len(a) else np.nan
