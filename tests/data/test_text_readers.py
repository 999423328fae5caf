"""Files of text that are damaged, too long, or written by another's rules."""

import gzip

import numpy as np
import pytest

from pullback import data
from pullback.bilevel import Schedule
from pullback.data import DataError

LONG = "Z" * 130_000
JASPAR = ">MA1 Arnt\nA [4 19]\nC [16 0]\nG [0 1]\nT [0 0]\n"
MEME = "MEME version 4\nALPHABET= {}\nMOTIF a\nletter-probability matrix: w= {}\n1 0 0 0\n"
JSON = '{{"format": "pullback schedule", "steps": {}, "hyper": {{"rate": {}}}}}'


def _refused(read, file, kind=DataError):
    with pytest.raises(kind) as caught:
        read(file)
    told = str(caught.value)
    assert str(file) in told
    assert len(told) < 1000
    return told


@pytest.mark.parametrize(
    ("name", "text", "read", "told"),
    [
        ("a.jaspar", JASPAR.replace("4 19", f"4 {LONG}"), data.read_motifs, "(130000 letters)"),
        ("a.meme", MEME.format(LONG, 1), data.read_motifs, "expected 130000 numbers"),
        ("a.meme", MEME.format("ACGT", "9" * 5000), data.read_motifs, "rows, w= 999"),
        ("a.fasta", f">a score={LONG}\nAC\n", data.read_sequences, "(130000 letters)"),
        ("a.csv", f"seq,score\nAC,{LONG}\n", data.read_sequences, "(130000 letters)"),
        ("a.smi", f"CCO a\n{LONG} b\n", data.read_molecules, "is too long: 5000 letters at most"),
        ("a.smi", f"C1{'C' * 4000} a\n", data.read_molecules, "cannot read 'C1CC"),
        ("a.graphml", f"<{LONG}/>", data.read_graphs, "expected GraphML, got <ZZZ"),
        ("a.graphml", "<?xml version='1.0' encoding='utf-1000'?><graphml/>", data.read_graphs,
         "in no known code"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_few_words(name, text, read, told, tmp_path):
    (tmp_path / name).write_text(text)
    assert told in _refused(read, tmp_path / name)


def test_long_strings_are_cut_where_they_cannot_be_encoded():
    for kind, first in (("letters", "A"), ("selfies", "C")):
        vocabulary = data.Vocabulary.from_strings([first], kind, 10**6)
        with pytest.raises(ValueError, match=r"\(130000 letters\)") as caught:
            vocabulary.encode([LONG])
        assert len(str(caught.value)) < 1000
    with pytest.raises(ValueError, match="each of them once") as caught:
        data.Vocabulary("letters", (LONG, LONG))
    assert len(str(caught.value)) < 1000


def test_a_meme_matrix_may_say_its_width_with_zeros(tmp_path):
    (tmp_path / "a.meme").write_text(MEME.format("ACGT", "01"))
    assert len(data.read_motifs(tmp_path / "a.meme")) == 1


def _block(name="eth", smiles="CCO"):
    chem = pytest.importorskip("rdkit.Chem")
    molecule = chem.MolFromSmiles(smiles)
    molecule.SetProp("_Name", name)
    return chem.MolToMolBlock(molecule) + ">  <logP>\n1.5\n\n$$$$\n"


@pytest.mark.parametrize("mark", ["\x0b", "\x85", "\u2028", "\x1c"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_an_sdf_file_end_where_lines_end(mark, end, tmp_path):
    text = _block(f"a{mark}b") + _block("c")
    (tmp_path / "a.sdf").write_bytes(text.replace("\n", end).encode())
    found = data.read_molecules(tmp_path / "a.sdf", properties=["logP"])
    assert found.names == (f"a{mark}b", "c")
    assert found.rows == (1, 1 + _block().count("\n"))
    np.testing.assert_array_equal(found.properties["logP"], [1.5, 1.5])


def test_a_molecule_of_too_many_atoms_is_not_begun(tmp_path):
    block = _block().replace("$$$$", "M  V30 COUNTS 90000 90000 0 0 0\n$$$$")
    (tmp_path / "a.sdf").write_text(_block() + block)
    told = _refused(data.read_molecules, tmp_path / "a.sdf")
    assert "line 15: the molecule that begins here has 90000 atoms; 5000 at most" in told


@pytest.mark.parametrize(
    ("edges", "indicator", "told"),
    [
        ("", "1\n1\n", "X_A.txt: expected numbers; the file is empty"),
        (" \n", "1\n", "X_A.txt: expected numbers; the file is empty"),
        ("1, 2\n", "", "X_graph_indicator.txt: expected numbers; the file is empty"),
        (f"1, {LONG}\n", "1\n1\n", "X_A.txt: expected numbers: could not"),
        ("1, 1e30\n", "1\n1\n", "X_A.txt: expected numbers: could not"),
        ("1, 99999999999\n", "1\n1\n", "expected A to number nodes from 1 to 2"),
    ],
)
def test_damaged_text_of_the_tu_collection(edges, indicator, told, tmp_path):
    (tmp_path / "X_A.txt").write_text(edges)
    (tmp_path / "X_graph_indicator.txt").write_text(indicator)
    assert told in _refused(data.read_graphs, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("s.csv", "step,rate[9223372036854775808]\n0,1\n", "is no name of a column"),
        ("s.csv", "step,rate[999999999]\n0,1\n", "are not those of one array"),
        ("s.csv", "step,rate[0],rate[999999999][9]\n0,1,2\n", "are not those of one array"),
        ("s.csv", f"step,{LONG}\n0,x\n", "(130000 letters) must have a number"),
        ("s.csv", b"step,r\xe9\n0,1\n", "expected text in UTF-8"),
        ("s.csv", "step,rate\n0,1\n".encode("utf-16"), "expected text in UTF-8"),
        ("s.csv", gzip.compress(b"step,rate\n0,1\n"), "expected text in UTF-8"),
        ("s.json", b'{"r\xe9": 1}', "expected text in UTF-8"),
        ("s.json", "[" * 100_000, "nested too deep"),
        ("s.json", JSON.format("[0]", f"[{'9' * 5000}]"), "integer string conversion"),
        ("s.json", JSON.format("[0]", f'["{LONG}"]'), "must be numbers"),
    ],
)
def test_a_schedule_that_is_none(name, text, told, tmp_path):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert told in _refused(Schedule.load, tmp_path / name, ValueError)


@pytest.mark.parametrize(("name", "text"), [
    ("s.csv", "step,rate\n0,1.5\n"), ("s.json", JSON.format("[0]", "[1.5]")),
])  # fmt: skip
def test_a_schedule_may_begin_with_a_mark(name, text, tmp_path):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert Schedule.load(tmp_path / name).hyper["rate"].tolist() == [1.5]


SMI = "CCO ethanol\nCCN amine\n"
FASTA = ">a score=1.5\nGATTACA\n>b score=2\nGATTA\n"
OF_TEXT = [
    ("a.smi", SMI, lambda file: data.read_molecules(file).names),
    ("a.fasta", FASTA, lambda file: data.read_sequences(file).letters),
    ("a.jaspar", JASPAR, lambda file: data.read_motifs(file)[0].name),
    ("a.edgelist", "anna bert\nbert cyd\n", lambda file: data.read_graphs(file).graphs[0]
     .node_names),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "read"), OF_TEXT)
def test_text_is_read_however_it_is_written(name, text, read, tmp_path):
    (tmp_path / name).write_text(text)
    wanted = read(tmp_path / name)
    for content in (
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
        text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(),
    ):
        (tmp_path / name).write_bytes(content)
        assert read(tmp_path / name) == wanted
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    assert read(tmp_path / f"{name}.gz") == wanted


@pytest.mark.parametrize(("name", "text", "read"), OF_TEXT)
def test_text_that_is_none_is_refused_with_a_remedy(name, text, read, tmp_path):
    for content, told in (
        (text.encode("utf-16-le"), "UTF-16 without its mark"),
        (text.encode() + b"\xe9\n", "If that is 'é', the file is in Windows-1252"),
        (b"PK\x03\x04" + text.encode(), "a zip file or a spreadsheet"),
        (text.encode("utf-16")[:-1], "has the mark of UTF-16, and cannot be read so"),
    ):
        (tmp_path / name).write_bytes(content)
        assert told in _refused(read, tmp_path / name)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode())[:-9])
    _refused(read, tmp_path / f"{name}.gz")


def test_edges_that_are_packed_say_so_by_their_name(tmp_path):
    (tmp_path / "a.edgelist").write_bytes(gzip.compress(b"a b\n"))
    told = _refused(data.read_graphs, tmp_path / "a.edgelist")
    assert "is packed by gzip; let its name end in .gz" in told


def test_decimal_commas_of_what_was_measured(tmp_path):
    pytest.importorskip("rdkit")
    (tmp_path / "t.csv").write_text("seq;smiles;score\nACGT;CCO;1,5\nAAAA;CC;-0,25\nACCC;CCC;NA\n")
    found = data.read_sequences(tmp_path / "t.csv")
    np.testing.assert_array_equal(found.scores, [1.5, -0.25, np.nan])
    known = data.read_molecules(tmp_path / "t.csv", properties=["score"])
    np.testing.assert_array_equal(known.properties["score"], [1.5, -0.25, np.nan])
    (tmp_path / "t.csv").write_text("seq;smiles;score\nACGT;CCO;1,500\nAAAA;CC;2,250\n")
    reads = (data.read_sequences, lambda file, **how: data.read_molecules(
        file, properties=["score"], **how))  # fmt: skip
    for read in reads:
        with pytest.raises(DataError, match=r"may be 1.500 or 1500; say `decimal=','`"):
            read(tmp_path / "t.csv")
    assert data.read_sequences(tmp_path / "t.csv", decimal=",").scores.tolist() == [1.5, 2.25]
    known = data.read_molecules(tmp_path / "t.csv", properties=["score"], decimal=",")
    assert known.properties["score"].tolist() == [1.5, 2.25]
