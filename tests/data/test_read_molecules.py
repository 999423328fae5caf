"""Molecules read from the files in which people have them."""

import gzip

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from pullback.data import DataError, read_molecules

WRITTEN = ("OCC", "C1=CC=CC=C1", "C[C@H](N)C(O)=O")
CANONICAL = ("CCO", "c1ccccc1", "C[C@H](N)C(=O)O")
VALUES, NAMES = [1.5, np.nan, -2.0], ("ethanol", "benzene", "alanine")
ROWS = list(zip(NAMES, WRITTEN, ("1.5", "", "-2"), strict=True))


def csv(header="name,smiles,logS", sep=","):
    return "\n".join([header, *(sep.join(row) for row in ROWS)]) + "\n"


def sdf(rows=ROWS, fields=True):
    text = ""
    for name, smiles, value in rows:
        molecule = Chem.MolFromSmiles(smiles)
        molecule.SetProp("_Name", name)
        text += Chem.MolToMolBlock(molecule)
        if fields and value:
            text += f">  <logS>\n{value}\n\n"
        text += "$$$$\n"
    return text


def write(folder, name, text):
    file = folder / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("a.csv", csv(), {}),
        ("a.csv.gz", csv(), {}),
        ("a.tsv", csv("n\tx\tlogS", "\t"), {"smiles": "x", "name": "n"}),
        ("a.sdf", sdf(), {}),
        ("a.sdf.gz", sdf(), {}),
    ],
)
def test_files_with_properties_say_the_same(tmp_path, name, text, settings):
    found = read_molecules(write(tmp_path, name, text), properties=["logS"], **settings)
    assert found.smiles == CANONICAL
    assert found.names == NAMES
    np.testing.assert_array_equal(found.properties["logS"], VALUES)
    assert found.properties["logS"].dtype == np.float64
    assert found.source == str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "names", "rows"),
    [
        ("a.smi", "OCC ethanol\n\nC1=CC=CC=C1\tbenzene\nC[C@H](N)C(O)=O alanine L\n",
         ("ethanol", "benzene", "alanine L"), (1, 3, 4)),
        ("a.smi.gz", "smiles name\nOCC\nC1=CC=CC=C1\nC[C@H](N)C(O)=O\n", ("1", "2", "3"),
         (2, 3, 4)),
        ("a.smi", "OCC mol 1\nC1=CC=CC=C1 id, 2\nC[C@H](N)C(O)=O molecule 3\n",
         ("mol 1", "id, 2", "molecule 3"), (1, 2, 3)),
        ("list.txt", "OCC\nC1=CC=CC=C1\nC[C@H](N)C(O)=O", ("1", "2", "3"), (1, 2, 3)),
        ("a.csv", "SMILES\n\nOCC \nC1=CC=CC=C1\nC[C@H](N)C(O)=O\n", ("1", "2", "3"), (3, 4, 5)),
        ("a.sdf", sdf(fields=False), NAMES, (1, 12, 30)),
        ("a.mol", sdf(fields=False).rpartition("$$$$")[0], NAMES, (1, 12, 30)),
    ],
)  # fmt: skip
def test_files_without(tmp_path, name, text, names, rows):
    found = read_molecules(write(tmp_path, name, text))
    assert (found.smiles, found.names, found.rows) == (CANONICAL, names, rows)
    assert found.properties == {}
    assert found.describe_left_out() == ""


def test_parquet_and_frames_are_read_too(tmp_path):
    frame = pd.DataFrame({"smiles": WRITTEN, "id": NAMES, "logS": VALUES})
    frame.to_parquet(tmp_path / "a.parquet")
    for given in (frame, tmp_path / "a.parquet"):
        found = read_molecules(given, properties=["logS"])
        assert (found.smiles, found.names, found.rows) == (CANONICAL, NAMES, (1, 2, 3))
        np.testing.assert_array_equal(found.properties["logS"], VALUES)
    assert read_molecules(frame).source == "the DataFrame"


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_smiles_themselves_are_read_as_the_lines_of_a_file(kind):
    given = kind([*WRITTEN, "C1CC", ""])
    found = read_molecules(given, skip_invalid=True, optional=["logS"])
    assert (found.smiles, found.names, found.rows) == (CANONICAL, ("1", "2", "3"), (1, 2, 3))
    assert found.properties == {}
    assert found.describe_left_out().endswith("as SMILES. Row 5: the cell is empty.")
    with pytest.raises(DataError, match="row 4: RDKit cannot read 'C1CC' as SMILES") as error:
        read_molecules(given)
    assert str(error.value).startswith(f"the {type(given).__name__}: 2 bad rows:")
    with pytest.raises(DataError, match="a list of SMILES has no logS; give a table"):
        read_molecules(given, properties=["logS"])
    with pytest.raises(DataError, match="has no columns of its own; leave out name"):
        read_molecules(given, name="id")


def test_what_is_optional_is_taken_where_it_is_there(tmp_path):
    for name, text in (("a.csv", csv("name,smiles,logS [M]")), ("a.sdf", sdf())):
        file = write(tmp_path, name, text)
        found = read_molecules(file, optional=["logS", "QED"])
        assert list(found.properties) == ["logS"]
        np.testing.assert_array_equal(found.properties["logS"], VALUES)
    with pytest.raises(DataError, match="expected a number in column 'logS'"):
        read_molecules(write(tmp_path, "b.csv", "smiles,logS\nC,x\nC,1\n"), optional=["logS"])
    assert read_molecules(write(tmp_path, "a.smi", "C\n"), optional=["logS"]).properties == {}


def test_twice_the_same_is_kept_twice_and_part_can_be_taken(tmp_path):
    found = read_molecules(write(tmp_path, "a.csv", "smiles,y\nOCC,1\nCCO,2\nC,3\n"),
                           properties=["y"])  # fmt: skip
    assert found.smiles == ("CCO", "CCO", "C")
    part = found.take(np.array([False, True, True]))
    assert (part.smiles, part.rows, part.names) == (("CCO", "C"), (3, 4), ("2", "3"))
    assert part.properties["y"].tolist() == [2, 3]


BAD = {"C1CC": "as SMILES", "CC(C)(C)(C)C": "Explicit valence for atom # 1 C, 5", "x": "as SMILES"}


def test_what_rdkit_cannot_read_is_told_by_line_and_counted(tmp_path, capfd):
    lines = ["smiles,y", "CCO,1", *(f"{each},2" for each in BAD), ",3", "C,4"]
    file = write(tmp_path, "a.csv", "\n".join(lines))
    with pytest.raises(DataError, match="4 bad rows:") as error:
        read_molecules(file, properties=["y"])
    for line, (smiles, why) in enumerate(BAD.items(), 3):
        assert f"line {line}: RDKit cannot read {smiles!r}" in str(error.value)
        assert why in str(error.value)
    assert "line 6: the cell is empty. skip_invalid=True leaves such rows out." in str(error.value)
    assert error.value.line == 3
    found = read_molecules(file, properties=["y"], skip_invalid=True)
    assert found.smiles == ("CCO", "C")
    assert found.properties["y"].tolist() == [1, 4]
    assert found.rows == (2, 7)
    assert list(found.left_out) == [3, 4, 5, 6]
    assert found.describe_left_out().startswith(
        "4 of 6 molecules were left out. Line 3: RDKit cannot read 'C1CC' as SMILES. Line 4: RDKit"
    )
    assert capfd.readouterr().err == ""  # RDKit writes there


def test_of_many_the_first_twenty(tmp_path):
    file = write(tmp_path, "a.smi", "C\n" + "".join(f"C1CC{'C' * k}\n" for k in range(30)))
    with pytest.raises(DataError, match="30 bad rows; the first 20 are") as error:
        read_molecules(file)
    assert "line 21:" in str(error.value)
    assert "line 22:" not in str(error.value)
    found = read_molecules(file, skip_invalid=True)
    assert found.describe_left_out().count("RDKit") == 5
    assert found.describe_left_out().startswith("30 of 31 molecules were left out; the first 5 are")


def test_a_damaged_molecule_of_an_sdf_file(tmp_path):
    whole = sdf()
    atoms = whole.replace("  6  6  0", "  7  6  0", 1)
    charged = whole.replace("C   0  0", "F   0  0", 5)
    for text, message in ((atoms, "line 15: RDKit cannot read the molecule that begins here"),
                          (charged, "begins here: Explicit valence")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            read_molecules(write(tmp_path, "a.sdf", text))
    found = read_molecules(write(tmp_path, "a.sdf", atoms), skip_invalid=True)
    assert found.smiles == (CANONICAL[0], CANONICAL[2])


@pytest.mark.parametrize("flat", [True, False])
def test_hands_double_bonds_and_hydrogens_of_an_sdf_file(tmp_path, flat):
    written = ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "F/C=C/F", "F/C=C\\F", "[2H]OC")
    blocks = []
    for smiles in written:
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        if flat:
            AllChem.Compute2DCoords(molecule)
        else:
            AllChem.EmbedMolecule(molecule, randomSeed=1)
        blocks.append(Chem.MolToMolBlock(molecule) + "$$$$\n")
    found = read_molecules(write(tmp_path, "a.sdf", "".join(blocks)))
    assert found.smiles == tuple(Chem.CanonSmiles(each) for each in written)


@pytest.mark.parametrize(
    ("name", "text", "settings", "line", "message"),
    [
        ("a.csv", csv(), {"properties": ["logs"]}, None, "no column 'logs'; did you mean 'logS'"),
        ("a.csv", csv(), {"properties": ["name"]}, None, "'name' is named for name and for"),
        ("a.csv", csv(), {"smiles": "x"}, None, "there is no column 'x'"),
        ("a.csv", "a,b\nC,1\n", {}, None, "for the smiles; which is it: smiles=..."),
        ("a.csv", "smiles,y\nC,much\nC,2\n", {"properties": ["y"]}, 2, "expected a number in col"),
        ("a.csv", "smiles,y\nC,inf\nC,2\n", {"properties": ["y"]}, 2, "expected a number in colu"),
        ("a.csv", "smiles,y\nC\n", {}, 2, "expected 2 cells, got 1"),
        ("a.csv", "smiles\n", {}, None, "expected molecules; there is none."),
        ("a.smi", "\n", {}, None, "expected molecules; there is none."),
        ("a.smi", "C\n", {"properties": ["y"]}, None, "has no y; write a CSV file with a header"),
        ("a.smi", "C\n", {"smiles": "s"}, None, "no columns of its own; leave out smiles="),
        ("a.sdf", sdf(), {"properties": ["logs"]}, None, "no field|has a field 'logs'; did you me"),
        ("a.txt", "\nid\tSMILES\n1\tC\n", {}, 2, "seems to be a table with a header; let its name"),
        ("a.smi", "smiles,logS\nC,1\n", {}, 1, "seems to be a table with a header; let its name"),
        ("a.sdf", "", {}, None, "expected molecules; there is none."),
    ],
)  # fmt: skip
def test_bad_files_are_told_with_a_remedy(tmp_path, name, text, settings, line, message):
    with pytest.raises(DataError, match=message) as error:
        read_molecules(write(tmp_path, name, text), **settings)
    assert error.value.line == line


def test_if_none_can_be_read_it_is_said(tmp_path):
    with pytest.raises(DataError, match=r"there is none\. 2 of 2 molecules.*Line 1: RDKit cannot"):
        read_molecules(write(tmp_path, "a.smi", "x\ny\n"), skip_invalid=True)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_molecules(tmp_path / "none.smi")
    with pytest.raises(ValueError, match=r"`properties` must be a list of names"):
        read_molecules(tmp_path / "none.smi", properties="logS")
    with pytest.raises(TypeError, match="from a data frame or from a list of SMILES, got int"):
        read_molecules(3)
    for read in (read_molecules(["C"]), {"smiles": ["C"]}):
        with pytest.raises(TypeError, match=f"list of SMILES, got {type(read).__name__}"):
            read_molecules(read)
    with pytest.raises(
        DataError, match=r"CCO: there is no such file; of SMILES write a list, \['C"
    ):
        read_molecules("CCO")


def test_rdkit_says_nothing_beside(tmp_path, capfd):
    for name, text in (("a.sdf", sdf().replace("V2000", "V2xxx", 1)), ("a.smi", "C1CC\nC\n")):
        with pytest.raises(DataError, match="RDKit cannot read"):
            read_molecules(write(tmp_path, name, text))
    assert capfd.readouterr() == ("", "")


def test_without_rdkit_the_install_line_is_told(tmp_path, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "rdkit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"pip install 'pullback\[chem\]'"):
        read_molecules(write(tmp_path, "a.smi", "C\n"))
