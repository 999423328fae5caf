"""What RDKit does for a designer of molecules: reads, compares, draws and writes them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pullback._extras import extra

_RADIUS, _BITS = 2, 2048
_ACROSS, _TILE = 5, (260, 220)  # drawings in a row, and pixels of one
_AT_ONCE = 1000  # molecules beside all others


def canonical(string: str) -> str | None:
    """The canonical SMILES of a string; None where it is no molecule of at least one atom."""
    chem = extra("rdkit.Chem", "chem")
    with extra("rdkit.rdBase", "chem").BlockLogs():
        molecule = chem.MolFromSmiles(string)
        if molecule is None or not molecule.GetNumAtoms():
            return None
        found = chem.MolToSmiles(molecule)
        # What RDKit itself reads no more, or spells otherwise the next time, has no one spelling.
        again = chem.MolFromSmiles(found)
        return found if again is not None and chem.MolToSmiles(again) == found else None


def fingerprints(smiles: Sequence[str]) -> Float[np.ndarray, "molecules bits"]:
    """Morgan fingerprints of radius 2, of 2048 bits."""
    chem = extra("rdkit.Chem", "chem")
    maker = extra("rdkit.Chem.rdFingerprintGenerator", "chem")
    make = maker.GetMorganGenerator(radius=_RADIUS, fpSize=_BITS)
    rows = [make.GetFingerprintAsNumPy(chem.MolFromSmiles(each)) for each in smiles]
    return np.asarray(rows, np.float32).reshape(-1, _BITS)


def similarities(
    a: Float[np.ndarray, "n bits"], b: Float[np.ndarray, "m bits"]
) -> Float[np.ndarray, "n m"]:
    """Tanimoto's similarity of each to each."""
    shared = a @ b.T
    return shared / (a.sum(1)[:, None] + b.sum(1) - shared)


def nearest(smiles: Sequence[str], known: Sequence[str]) -> Float[np.ndarray, " n"]:
    """The similarity of each molecule to the most similar of those known."""
    prints, others = fingerprints(smiles), fingerprints(list(dict.fromkeys(known)))
    parts = [prints[k : k + _AT_ONCE] for k in range(0, len(prints), _AT_ONCE)]
    return np.concatenate([np.zeros(0), *(similarities(each, others).max(1) for each in parts)])


def drawn(smiles: Sequence[str], legends: Sequence[str]) -> bytes:
    """Drawings of molecules in rows, as a PNG file; "" is an empty place."""
    chem = extra("rdkit.Chem", "chem")
    draw = extra("rdkit.Chem.Draw.rdMolDraw2D", "chem")
    width, height = _TILE
    across = min(_ACROSS, len(smiles))
    rows = -(-len(smiles) // across)
    canvas = draw.MolDraw2DCairo(across * width, rows * height, width, height)
    options = canvas.drawOptions()
    options.legendFontSize, options.legendFraction = 15, 0.2
    options.padding = 0.08
    canvas.DrawMolecules([chem.MolFromSmiles(each) for each in smiles], legends=list(legends))
    canvas.FinishDrawing()
    return canvas.GetDrawingText()


def sdf(names: Sequence[str], smiles: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> str:
    """An SDF file of molecules, laid out flat, with a field for each column."""
    chem, flat = extra("rdkit.Chem", "chem"), extra("rdkit.Chem.rdDepictor", "chem")
    text = io.StringIO()
    writer = chem.SDWriter(text)
    for row, (name, each) in enumerate(zip(names, smiles, strict=True)):
        molecule = chem.MolFromSmiles(each)
        flat.Compute2DCoords(molecule)
        molecule.SetProp("_Name", name)
        for field, cells in columns.items():
            if cells[row] is not None:
                molecule.SetProp(field, str(cells[row]))
        writer.write(molecule)
    writer.close()
    return text.getvalue()
