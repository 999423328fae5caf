"""Motifs read from files of JASPAR and MEME."""

import gzip

import numpy as np
import pytest
from Bio import motifs as biopython

from pullback.data import DataError, read_motifs

JASPAR = """>MA0004.1\tArnt
A  [ 4 19  0  0  0  0 ]
C  [16  0 20  0  0  0 ]
G  [ 0  1  0 20  0 20 ]
T  [ 0  0  0  0 20  0 ]

>MA0001.3 AGL3 of a plant
A  [ 0  3 ]
T  [ 1  0 ]
G  [ 9  0 ]
C  [90 97.5 ]
"""
PLACES = """# counts
>MA0004.1_MA0004.1.Arnt
4.0\t16.0\t0.0\t0.0
19.0\t0.0\t1.0\t0.0
0.0\t20.0\t0.0\t0.0
>second
1 2 3 4
"""
MEME = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.303 C 0.183 G 0.209 T 0.306

MOTIF crp alternative
letter-probability matrix: alength= 4 w= 3 nsites= 100 E= 4.1e-009
 0.00 1.00 0.00 0.00
 0.25 0.25 0.30 0.20
 0.17 0.05 0.55 0.23
URL http://example.org

MOTIF lexA
letter-probability matrix: alength= 4 w= 1 nsites= 100 E= 0
 0.50 0.50 0.00 0.00
"""


def write(folder, text, name="my.motifs"):
    file = folder / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


@pytest.mark.parametrize("name", ["my.jaspar", "my.jaspar.gz"])
def test_jaspar_as_biopython_reads_it(tmp_path, name):
    found = read_motifs(write(tmp_path, JASPAR, name))
    assert [motif.identifier for motif in found] == ["MA0004.1", "MA0001.3"]
    assert [motif.name for motif in found] == ["Arnt", "AGL3 of a plant"]
    with open(write(tmp_path, JASPAR)) as file:
        theirs = biopython.parse(file, "jaspar")
    for mine, other in zip(found, theirs, strict=True):
        assert mine.alphabet == "ACGT"
        columns = [other.counts[letter] for letter in "ACGT"]
        np.testing.assert_array_equal(mine.counts, np.transpose(columns))


def test_places_in_rows_as_biopython_reads_them(tmp_path):
    found = read_motifs(write(tmp_path, PLACES))
    with open(write(tmp_path, PLACES.partition("\n")[2])) as file:
        theirs = biopython.parse(file, "pfm-four-columns")
    for mine, other in zip(found, theirs, strict=True):
        columns = [other.counts[letter] for letter in "ACGT"]
        np.testing.assert_array_equal(mine.counts, np.transpose(columns))
    assert found[0].identifier == "MA0004.1_MA0004.1.Arnt"


def test_letters_in_rows_without_their_names(tmp_path):
    (motif,) = read_motifs(write(tmp_path, ">a\n1 2 3 4 5\n0 0 0 0 1\n0 0 0 0 2\n0 0 0 0 3\n"))
    assert motif.counts.shape == (5, 4)
    assert motif.counts[4].tolist() == [5, 1, 2, 3]


def test_meme_as_biopython_reads_it_but_not_rounded(tmp_path):
    file = write(tmp_path, MEME)
    found = read_motifs(file)
    assert [(m.identifier, m.name) for m in found] == [("crp", "alternative"), ("lexA", "lexA")]
    with open(file) as handle:
        theirs = biopython.parse(handle, "minimal")
    for mine, other in zip(found, theirs, strict=True):
        columns = [other.counts[letter] for letter in "ACGT"]
        np.testing.assert_allclose(100 * mine.counts, np.transpose(columns), atol=1e-9)
    fine = MEME.replace("0.17 0.05", "0.171 0.049").replace("nsites= 100 ", "")
    assert read_motifs(write(tmp_path, fine))[0].counts[2, 0] == 0.171
    protein = "MEME version 5\nALPHABET= ACDEF\nMOTIF p\nletter-probability matrix:\n1 0 0 0 0\n"
    (motif,) = read_motifs(write(tmp_path, protein))
    assert (motif.alphabet, motif.counts.shape) == ("ACDEF", (1, 5))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "expected motifs, each below a header"),
        ("A [1 2]\n", 1, "expected a header such as >MA0004.1 Arnt, got 'A .1 2.'"),
        (">a\n>b\n1 2 3 4\n", 1, "has no rows below its header"),
        (JASPAR.replace("16  0 20", "16  x 20"), 3, "expected numbers in a row of counts; got 'x'"),
        (JASPAR.replace("G  [ 0  1", "G  [ 1"), 4, "expected 6 numbers, as in the row before; go"),
        (JASPAR.replace("\nG  [ 0  1", "\nA  [ 0  1"), 2, "each of A, C, G and T; got ACAT"),
        (JASPAR.replace("C  [16", "CC [16"), 3, "expected a row such as A .4 19 0., got 'CC "),
        (JASPAR.replace("[ 4 19", "[-4 19"), 2, "counts of 0 or more; the motif here has -4"),
        (PLACES.replace("1 2 3 4", "1 2 3"), 7, "expected 4 numbers in each row, .* got 3"),
        (PLACES.replace("1 2 3 4", "0 0 0 0"), 7, "place 1 of the motif here has no counts"),
        (PLACES.replace("1 2 3 4", "1 2 3 nan"), 7, "got 'nan'"),
        (
            PLACES.replace("1 2 3 4", "1 2 3 inf"),
            7,
            "expected numbers in a row of counts; got 'inf'",
        ),
        (">a\n" + "1 2 3 4\n" * 4, 2, "begin each row with its letter, as in A"),
        (MEME.replace("w= 3", "w= 4"), 11, "expected 4 rows, w= 4; got 3"),
        (MEME.replace("0.55 0.23", "0.55"), 14, "expected 4 numbers, as in the row before; got 3"),
        (MEME.replace("MOTIF crp alternative\n", ""), 10, "expected MOTIF and a name before"),
        (MEME.replace("= ACGT", ' "DNA" DNA-LIKE'), 3, "expected an alphabet as in ALPHABET= AC"),
        (MEME.replace("= ACGT", "= ACGTN"), 12, "expected 5 numbers in each row, of ACGTN; got"),
    ],
)
def test_bad_files_are_told_by_line(tmp_path, text, line, message):
    with pytest.raises(DataError, match=message) as error:
        read_motifs(write(tmp_path, text))
    assert error.value.line == line


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_motifs(tmp_path / "none")
