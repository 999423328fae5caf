"""Molecules that come with RDKit or lie in the data folder."""

import pytest

from pullback.data import nci_molecules


def test_the_molecules_of_rdkit():
    from rdkit import Chem

    found = nci_molecules()
    assert 4300 < len(found.smiles) < 4350
    assert len({*found.smiles}) == len(found.smiles) == len(found.names)
    assert {len(each) for each in found.smiles} == set(range(4, 46))
    for smiles in found.smiles[::40]:
        assert Chem.MolToSmiles(Chem.MolFromSmiles(smiles)) == smiles
        assert "." not in smiles
    assert "O=C1C=CC(=O)C=C1" not in found.smiles  # not canonical
    with pytest.raises(ValueError, match="no molecule of 3 to 2"):
        nci_molecules(3, 2)
    with pytest.raises(ValueError, match="`shortest` must be 1 or more"):
        nci_molecules(0)


def test_without_rdkit_the_install_line_is_told(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "rdkit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"pip install 'pullback\[chem\]'"):
        nci_molecules()
