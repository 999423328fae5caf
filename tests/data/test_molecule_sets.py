"""Molecules that come with RDKit or lie in the data folder."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from pullback.data import DataError, molnet, nci_molecules, zinc

DATA = Path(os.environ.get("PULLBACK_DATA", "nowhere"))
HEAD = "smiles,split,line_in_250k,logP,qed,SAS\n"


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


def write(folder, name, text):
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))


def test_zinc_by_its_split(tmp_path):
    write(tmp_path, "zinc34k", HEAD + "OCC,test,0,1,2,3\nC,valid,-1,4,5,6\nN,train,9,7,8,9\n")
    train, test = zinc(folder=tmp_path)
    assert (train.smiles, train.names, test.smiles) == (("C", "N"), ("2", "3"), ("CCO",))
    assert {name: each.tolist() for name, each in train.properties.items()} == {
        "logP": [4, 7], "QED": [5, 8], "SAS": [6, 9],
    }  # fmt: skip
    write(tmp_path, "zinc34k", HEAD + "OCC,test,0,1,2,3\n")
    with pytest.raises(DataError, match="expected both test and other parts"):
        zinc(folder=tmp_path)
    write(tmp_path, "zinc34k", HEAD + "OCC,test,0,1,2,3\nC,rest,0,1,2,3\n")
    with pytest.raises(DataError, match=r"got .'rest'."):
        zinc(folder=tmp_path)
    write(tmp_path, "zinc34k", HEAD + "OCC,test,0,1,2,3\nC1CC,valid,0,1,2,3\n")
    with pytest.raises(DataError, match="line 3: RDKit cannot read 'C1CC'"):
        zinc(folder=tmp_path)


def test_measured_sets(tmp_path):
    write(tmp_path, "lipo", "CMPD_CHEMBLID,exp,smiles\nC1,3.5,OCC\n")
    found = molnet("lipophilicity", folder=tmp_path)
    assert (found.smiles, found.source) == (("CCO",), "lipophilicity")
    assert found.properties["lipophilicity"].tolist() == [3.5]
    write(tmp_path, "qm9_smiles", "smiles\nC\nN\n")
    assert molnet("qm9", folder=tmp_path).smiles == ("C", "N")
    with pytest.raises(DataError, match="not found"):
        molnet("esol", folder=tmp_path)
    with pytest.raises(ValueError, match="`name` must be one of esol, freesolv, lipophilicity, qm"):
        molnet("tox21", folder=tmp_path)


@pytest.mark.skipif(not (DATA / "molnet").exists(), reason="PULLBACK_DATA has no folder molnet")
def test_the_published_sets():
    found = molnet("esol")
    assert len(found.smiles) == 1128
    assert found.properties["solubility"][1] == -3.3
    assert found.smiles[1] == "Cc1occc1C(=O)Nc1ccccc1"
    assert len(molnet("freesolv").smiles) == 642
    assert np.isfinite(molnet("freesolv").properties["hydration_free_energy"]).all()


@pytest.mark.slow  # 34,000 molecules made canonical
@pytest.mark.skipif(not (DATA / "zinc_subset").exists(), reason="no zinc_subset in PULLBACK_DATA")
def test_zinc_as_published():
    from rdkit import Chem
    from rdkit.Chem import Crippen

    train, test = zinc()
    assert (len(train.smiles), len(test.smiles)) == (28_902, 5_000)
    whole = [Crippen.MolLogP(Chem.MolFromSmiles(each)) for each in test.smiles[:200]]
    np.testing.assert_allclose(test.properties["logP"][:200], whole, atol=1e-4)
